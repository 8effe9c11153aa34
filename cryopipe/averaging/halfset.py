"""One half-set: its boxes, their poses and its map, independent of the other half-set."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, Poses, Reference, best_on_grid, refine_poses
from cryopipe.alignment.spectra import Spectra, batches, noise_from_power
from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.initial_model import (
    InitialModelData,
    add_symmetric,
    best_initial_model,
)
from cryopipe.averaging.superposition import centre_of_density
from cryopipe.progress import Progress
from cryopipe.volume.fourier import shift_volumes
from cryopipe.volume.statistics import DEVIATION_PER_MAD

logger = logging.getLogger(__name__)

_NOISE_SAMPLE = 100
"""Largest number of boxes in the estimate of the noise."""


class HalfSet:
    """The boxes of one half-set with their poses, scores and map.

    Parameters
    ----------
    spectra
        All boxes of the cluster.
    indices
        (m,) indices of this half-set's boxes.
    volume
        (z, y, x) initial map.
    context
        Context of the alignment.
    number
        1 or 2, for messages.

    Attributes
    ----------
    poses
        Of the half-set's boxes, relative to its own map.
    scores
        (m,) correlation of box and map over the measured coefficients.
    kept
        (m,) whether the box is included in the map.
    """

    def __init__(
        self,
        spectra: Spectra,
        indices: NDArray[np.intp],
        volume: Tensor,
        context: AlignmentContext,
        number: int,
    ) -> None:
        self.spectra, self.indices, self.volume = spectra, indices, volume
        self.context, self.number, self.name = context, number, f"half {number}"
        # Slightly beyond the allowed shift, so that shifts do not accumulate at the limit.
        self.max_shift_voxels = 1.2 * context.max_shift_voxels + 0.5
        count, device = len(indices), spectra.device
        self.poses = Poses(
            torch.eye(3, device=device).repeat(count, 1, 1), torch.zeros(count, 3, device=device)
        )
        self.scores = torch.zeros(count, device=device)
        self.kept = torch.ones(count, dtype=torch.bool, device=device)
        self._has_poses = False

    def set_poses(self, poses: Poses) -> None:
        """Set known poses."""
        self.poses, self._has_poses = poses, True

    def subset(self, count: int, rng: np.random.Generator) -> HalfSet:
        """Return a half-set of at most `count` of these boxes, drawn at random, with their poses and the map."""
        if count >= len(self.indices):
            return self
        drawn = np.sort(rng.permutation(len(self.indices))[:count])
        half = HalfSet(self.spectra, self.indices[drawn], self.volume, self.context, self.number)
        half.poses, half._has_poses = self.poses.chosen(torch.from_numpy(drawn)), self._has_poses
        return half

    def align(self, band: Band, search: Grid | None, rounds: int) -> Tensor:
        """Align every box to the map and sum the aligned boxes.

        Parameters
        ----------
        band
            The coefficients compared and summed.
        search
            Rotations and shifts to try in addition to the current poses; None for refinement only.
        rounds
            Steps of local refinement.

        Returns
        -------
        The sums, for `Band.volume_from_sums`.
        """
        wedges = self.spectra.measured(band)
        reference = Reference(
            band, band.reference_grid(self.volume, gradient=True), self._noise(band, wedges)
        )
        sums = band.empty_sums()
        counter = Progress(len(self.indices), "boxes", f"aligning {self.name}")
        # Bytes per box: coefficients with six derivatives and copies and, in a search, the box at every shift.
        each = len(band) * (400 + (0 if search is None else 16 * len(search.shifts_voxels)))
        for batch in batches(np.arange(len(self.indices)), each):
            raw = self.spectra.coefficients(self.indices[batch], band, wedges)
            schemes = self.spectra.scheme_of_box[self.indices[batch]]
            scaled, measured = raw / reference.noise, wedges[schemes]
            poses, scores = self._best(scaled, schemes, wedges, reference, batch, search, rounds)
            self.poses.matrices[batch], self.poses.shifts_voxels[batch] = poses.matrices, poses.shifts_voxels
            self.scores[batch] = scores
            use = self.kept[batch][:, None]
            back = raw * band.shift_phases(-poses.shifts_voxels)
            add_symmetric(band, sums, back * use, measured * use, poses.matrices, self.context.symmetry)
            counter.advance(len(batch))
        self._has_poses = True
        return sums

    def adopt_map(self, part: HalfSet, search: Grid | None, coarse: Band, fine: Band, rounds: int) -> None:
        """Adopt the map of a refined subset and align every box to it.

        Parameters
        ----------
        part
            The refined result of `subset`.
        search
            Rotations and shifts to try in the band `coarse`; None if the current poses are good already.
        coarse, fine
            The coefficients compared in the search and after it.
        rounds
            Steps of local refinement.
        """
        logger.info(
            "%s: aligning all %d boxes to the map refined from %d",
            self.name,
            len(self.indices),
            len(part.indices),
        )
        self.volume = part.volume
        if search is not None:
            self.align(coarse, search, rounds)
        self.align(fine, None, rounds)

    def _best(
        self,
        scaled: Tensor,
        schemes: Tensor,
        wedges: Tensor,
        reference: Reference,
        batch: NDArray[np.intp],
        search: Grid | None,
        rounds: int,
    ) -> tuple[Poses, Tensor]:
        """Refine the current poses, those of the search, or both; return the better poses with their scores."""
        limit, measured = self.max_shift_voxels, wedges[schemes]
        if search is None:
            present = self.poses.chosen(torch.from_numpy(batch))
            return refine_poses(scaled, measured, reference, present, limit, rounds)
        found = best_on_grid(scaled, schemes, wedges, reference, search)
        poses, scores = refine_poses(scaled, measured, reference, found, limit, rounds)
        if not self._has_poses:
            return poses, scores
        present = self.poses.chosen(torch.from_numpy(batch))
        old, old_scores = refine_poses(scaled, measured, reference, present, limit, rounds)
        better = scores > old_scores
        matrices = torch.where(better[:, None, None], poses.matrices, old.matrices)
        shifts = torch.where(better[:, None], poses.shifts_voxels, old.shifts_voxels)
        return Poses(matrices, shifts), torch.maximum(scores, old_scores)

    def exclude_outliers(self, deviations: float) -> None:
        """Exclude the boxes whose score lies far below the half-set's median.

        A box is excluded if its score is below median - `deviations` * standard deviation, which is estimated from
        the median absolute deviation.
        """
        if len(self.scores) < 5:
            return
        # torch's median is the lower of the two middle values.
        median = self.scores.median()
        deviation = DEVIATION_PER_MAD * (self.scores - median).abs().median()
        self.kept = self.scores >= median - deviations * deviation

    def _noise(self, band: Band, wedges: Tensor) -> Tensor:
        """Return (K,) standard deviations of the difference between boxes and map."""
        spaced = np.linspace(0, len(self.indices) - 1, min(_NOISE_SAMPLE, len(self.indices)))
        chosen = np.unique(spaced.astype(np.intp))
        raw = self.spectra.coefficients(self.indices[chosen], band, wedges)
        measured = wedges[self.spectra.scheme_of_box[self.indices[chosen]]]
        if self._has_poses:
            ones = torch.ones(len(band), device=band.device)
            plain = Reference(band, band.reference_grid(self.volume), ones)
            raw = raw - plain.at(self.poses.chosen(torch.from_numpy(chosen))) * measured
        return noise_from_power(raw, measured, band)


def initial_half_set(
    context: AlignmentContext,
    spectra: Spectra,
    indices: NDArray[np.intp],
    number: int,
    rng: np.random.Generator,
) -> HalfSet:
    """Return the half-set `number` of the boxes `indices` (m,) with an initial model from these boxes alone."""
    subset = np.sort(rng.permutation(indices)[: context.options.initial_boxes])
    volume = best_initial_model(InitialModelData(spectra, subset, context), rng, f"half {number}").volume
    centre = centre_of_density(volume * context.mask) * context.free_axes
    volume = shift_volumes(volume[None], -centre[None])[0] * context.mask
    return HalfSet(spectra, indices, volume, context, number)
