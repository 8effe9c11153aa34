"""Comparison of boxes with maps in poses that are refined beyond the grid of the search.

Two maps of one structure in different orientations cover the poses more finely than one map on the same grid, and so
describe boxes better though there is one structure. In refined poses they have no such advantage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryopipe.alignment.search import Grid, Poses, Reference, log_likelihoods, refine_poses
from cryopipe.alignment.spectra import batches
from cryopipe.classification.band_boxes import BandBoxes
from cryopipe.classification.class_maps import ClassMaps
from cryopipe.classification.expectation import integrated_amplitude
from cryopipe.classification.interpolation import RotatedPoints

REFINEMENTS = 4
"""Gauss-Newton steps of every box."""


@dataclass(frozen=True)
class RefinedRound:
    """Boxes in their best poses.

    Attributes
    ----------
    log_likelihoods
        (n, C), 0 where not compared.
    sums
        As of `Expectation`.
    matrices, shifts_voxels
        (n, C, 3, 3) and (n, C, 3) of the poses, NaN where not compared.
    """

    log_likelihoods: Tensor
    sums: Tensor
    matrices: Tensor
    shifts_voxels: Tensor


def refined_round(
    boxes: BandBoxes,
    maps: ClassMaps,
    noise: Tensor,
    search: Grid,
    weights: Tensor,
    known: RefinedRound | None = None,
) -> RefinedRound:
    """Align every box to the maps it has a weight for, and sum the aligned boxes.

    Parameters
    ----------
    boxes
        n boxes; each is compared with maps without its own fold.
    maps
        C maps.
    noise
        (shells + 1,) standard deviation.
    search
        Rotations and shifts from which poses are refined.
    weights
        (n, C) weights of the boxes in the sums; with a weight of 0, box and map are not compared.
    known
        An earlier round of the same maps; poses are refined from its poses, and searched for only where it has none.
    """
    band, deviation = boxes.band, noise[boxes.band.shell]
    values = torch.zeros_like(weights)
    matrices, shifts = (
        weights.new_full((*weights.shape, 3, 3), torch.nan),
        weights.new_full((*weights.shape, 3), torch.nan),
    )
    if known is not None:
        matrices, shifts = known.matrices.clone(), known.shifts_voxels.clone()
    missing = (weights > 0) & shifts[..., 0].isnan()
    points, phases = RotatedPoints(band, search.matrices), band.shift_phases(search.shifts_voxels)
    sums = torch.zeros(len(maps), boxes.fold_count, *band.empty_sums().shape, device=band.device)
    limit = float(search.shifts_voxels.norm(dim=1).max()) + 1.0
    each = len(band) * (400 + 16 * len(search.shifts_voxels))
    for fold in range(boxes.fold_count):
        here = boxes.folds == fold
        searched = torch.nonzero((missing & here[:, None]).any(dim=0))[:, 0]
        rotated = maps.of(searched).references(fold, points) if len(searched) else ()
        for number, references in zip(searched.tolist(), rotated, strict=True):
            for part in _parts(
                here & missing[:, number], len(references) * (8 * len(phases) + 8), band.device
            ):
                found = _best_on_grid(boxes, part, references / deviation, deviation, search, phases)
                matrices[part, number], shifts[part, number] = found.matrices, found.shifts_voxels
        del rotated
        for number in range(len(maps)):
            reference = Reference(
                band, band.reference_grid(maps.filtered_one(number, fold), gradient=True), deviation
            )
            for rows in _parts(here & (weights[:, number] > 0), each, band.device):
                raw, measured = boxes.coefficients[rows], boxes.wedges[boxes.schemes[rows]]
                scaled = raw / deviation
                found = Poses(matrices[rows, number], shifts[rows, number])
                poses, _ = refine_poses(scaled, measured, reference, found, limit, REFINEMENTS)
                matrices[rows, number], shifts[rows, number] = poses.matrices, poses.shifts_voxels
                values[rows, number], amplitude = _likelihood(scaled, measured, reference, poses)
                scale = (amplitude * weights[rows, number])[:, None]
                back = raw * band.shift_phases(-poses.shifts_voxels) * scale
                weight = measured * scale * amplitude[:, None]
                band.interpolation_sums(back, weight, poses.matrices, sums[number, fold])
    return RefinedRound(values, sums, matrices, shifts)


def _parts(chosen: Tensor, floats_per_box: int, device: torch.device) -> list[Tensor]:
    """Return the indices of the chosen boxes in batches of limited memory."""
    members = torch.nonzero(chosen)[:, 0].cpu().numpy()
    return [torch.from_numpy(part).to(device) for part in batches(np.asarray(members), floats_per_box)]


def _best_on_grid(
    boxes: BandBoxes, rows: Tensor, references: Tensor, deviation: Tensor, search: Grid, phases: Tensor
) -> Poses:
    """Return the most likely pose of the boxes `rows` for noise-weighted references (R, K)."""
    scores = log_likelihoods(
        boxes.coefficients[rows] / deviation, boxes.schemes[rows], boxes.wedges, references, phases
    )
    best = scores.flatten(1).argmax(dim=1)
    return Poses(search.matrices[best % len(references)], search.shifts_voxels[best // len(references)])


def _likelihood(
    scaled: Tensor, measured: Tensor, reference: Reference, poses: Poses
) -> tuple[Tensor, Tensor]:
    """Return the (B,) log-likelihoods of boxes in these poses, integrated over the amplitude, and its mean."""
    model = reference.at(poses) * measured
    return integrated_amplitude((scaled.conj() * model).real.sum(dim=1), (model.abs() ** 2).sum(dim=1))
