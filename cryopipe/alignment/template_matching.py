"""Template matching in boxes: constrained cross-correlation with maps over rotations and shifts.

Box and template are compared inside the missing wedge and up to a resolution. Every shell of Fourier space is divided by
the standard deviation of the noise in it, because without that the strongest, lowest shells decide alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, cross_terms, energies
from cryopipe.alignment.spectra import noise_from_power
from cryopipe.volume.wedge import measured, tilt_schemes

ROTATIONS_AT_ONCE = 512
MATRIX_BYTES = 256 * 2**20
"""Largest memory of the shifted boxes that are compared at a time."""


@dataclass(frozen=True)
class Matches:
    """The best pose of m templates in each of n boxes.

    Attributes
    ----------
    scores
        (n, m) correlation coefficients, -1 to 1.
    rotations, shifts
        (n, m) indices of the rotation and of the shift in the grid of the search.
    power
        (n,) squared norm of the boxes' compared coefficients in units of the noise; scores² * power is the
        logarithm of the likelihood ratio of a template of the best amplitude and pure noise.
    """

    scores: Tensor
    rotations: Tensor
    shifts: Tensor
    power: Tensor


class TemplateMatcher:
    """Compares boxes with templates.

    Parameters
    ----------
    templates
        (m, z, y, x) maps, bright, of the boxes' size and voxel size, centred at n // 2.
    band
        The compared coefficients.
    noise
        (K,) standard deviation of the boxes' coefficients.
    search
        Rotations and shifts of the templates.
    """

    def __init__(self, templates: Tensor, band: Band, noise: Tensor, search: Grid) -> None:
        self.band, self.noise, self.search = band, noise, search
        self._grids = [band.reference_grid(one) for one in templates]
        self._phases = band.shift_phases(search.shifts_voxels)

    @property
    def poses(self) -> int:
        """Number of poses of every template."""
        return len(self.search.matrices) * len(self.search.shifts_voxels)

    def boxes_at_once(self) -> int:
        """Return the largest number of boxes for one call of `match`."""
        per_box = len(self.search.shifts_voxels) * (8 * len(self.band) + 4 * ROTATIONS_AT_ONCE)
        return max(1, min(512, MATRIX_BYTES // per_box))

    def match(self, boxes: Tensor, tilt_ranges: ArrayLike) -> Matches:
        """Return the best pose of every template in `boxes` (n, z, y, x).

        Parameters
        ----------
        boxes
            Particles bright.
        tilt_ranges
            (n, 2) lowest and highest tilt of each box's tomogram, degrees, or (n, 3); see
            `cryopipe.volume.wedge.tilt_schemes`.
        """
        schemes, wedges = wedges_of(tilt_ranges, self.band)
        coefficients = box_coefficients(boxes, self.band) * wedges[schemes] / self.noise
        power = (coefficients.abs() ** 2).sum(dim=1)
        found = [self._best(grid, coefficients, schemes, wedges) for grid in self._grids]
        scores, rotations, shifts = (torch.stack(column, dim=1) for column in zip(*found, strict=True))
        return Matches(scores / power.sqrt().clamp(min=1e-12)[:, None], rotations, shifts, power)

    def _best(self, grid: Tensor, coefficients: Tensor, schemes: Tensor, wedges: Tensor) -> Sequence[Tensor]:
        """Return (n,) largest projections of the boxes on the template of norm 1, and the indices of their poses."""
        best = torch.full((len(coefficients),), -torch.inf, device=coefficients.device)
        rotation = torch.zeros_like(best, dtype=torch.long)
        shift = torch.zeros_like(rotation)
        for first in range(0, len(self.search.matrices), ROTATIONS_AT_ONCE):
            matrices = self.search.matrices[first : first + ROTATIONS_AT_ONCE]
            references = self.band.project(grid, matrices) / self.noise
            norms = energies(wedges, references).sqrt().clamp(min=1e-12)[schemes]
            scores = cross_terms(coefficients, references, self._phases) / norms[:, None]
            value, at = scores.flatten(1).max(dim=1)
            better = value > best
            best = torch.where(better, value, best)
            rotation = torch.where(better, at % len(matrices) + first, rotation)
            shift = torch.where(better, at // len(matrices), shift)
        return best, rotation, shift


def box_coefficients(boxes: Tensor, band: Band) -> Tensor:
    """Return (n, K) coefficients of boxes (n, z, y, x) of mean 0."""
    return band.coefficients(boxes - boxes.mean(dim=(1, 2, 3), keepdim=True))


def wedges_of(tilt_ranges: ArrayLike, band: Band) -> tuple[Tensor, Tensor]:
    """Return the (n,) tilt scheme of each box and the (W, K) measured coefficients of the schemes."""
    schemes, which = tilt_schemes(tilt_ranges)
    wedges = [measured(band.frequencies, scheme) for scheme in schemes]
    return torch.from_numpy(which).to(band.device), torch.stack(wedges)


def noise_of_boxes(boxes: Tensor, tilt_ranges: ArrayLike, band: Band) -> Tensor:
    """Return (K,) standard deviation of the boxes' coefficients in each shell, inside their wedges.

    Parameters
    ----------
    boxes
        (n, z, y, x), a sample of the boxes to compare; their signal counts as noise.
    tilt_ranges
        (n, 2) degrees.
    band
        The coefficients.
    """
    schemes, wedges = wedges_of(tilt_ranges, band)
    return noise_from_power(box_coefficients(boxes, band) * wedges[schemes], wedges[schemes], band)
