"""Superposition of maps, and transformation of poses to the superposed map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, Poses, Reference, best_on_grid, refine_poses, shift_grid
from cryopipe.volume.fsc import fourier_shell_correlation, randomise_phases
from cryopipe.volume.geometry import rotation_grid
from cryopipe.volume.rotate import rotate_volumes

SEARCH_ANGLE = 12.0
"""Covering radius in degrees of the search for the rotation between two maps."""
REFINEMENT_STEPS = 6
"""Steps of local refinement after the search."""
NOISE_DRAWS = 5
"""Number of phase-randomised copies in the estimate of the correlation of superposed noise."""


def centre_of_density(volume: Tensor) -> Tensor:
    """Return the centre of mass (x, y, z) above 30 % of a (z, y, x) map's maximum, voxels from the box's centre."""
    weight = (volume - 0.3 * volume.max()).clamp(min=0)
    axes = [torch.arange(n, device=volume.device) - n // 2 for n in volume.shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    total = weight.sum().clamp(min=1e-12)
    return torch.stack([(weight * axis).sum() / total for axis in (x, y, z)])


def superpose(
    target: Tensor, volume: Tensor, band: Band, initial: Poses | None, max_shift_voxels: float
) -> tuple[Poses, float]:
    """Return the pose that superposes `volume` on `target`, and their correlation.

    Parameters
    ----------
    target, volume
        (z, y, x) maps.
    band
        The compared coefficients; every shell has the same weight.
    initial
        Initial pose; None to search all rotations.
    max_shift_voxels
        Largest shift of the search.

    Returns
    -------
    One rotation and shift, and the correlation of the coefficients.
    """
    poses, scores = _superpose_on_each([target], volume, band, initial, max_shift_voxels)
    return poses, float(scores[0])


def _superpose_on_each(
    targets: Sequence[Tensor], volume: Tensor, band: Band, initial: Poses | None, max_shift_voxels: float
) -> tuple[Poses, Tensor]:
    """Return the poses that superpose `volume` on each of n `targets`, and their (n,) correlations; see `superpose`.

    The volume is rotated once for all targets.
    """
    complete = torch.ones(1, len(band), device=band.device)
    *goals, other = (band.coefficients(one[None])[0] for one in (*targets, volume))
    grid = band.reference_grid(volume, gradient=True)
    reference = Reference(band, grid, _shell_amplitudes(other, band))
    coefficients = torch.stack([goal / _shell_amplitudes(goal, band) for goal in goals])
    if initial is None:
        rotations = torch.from_numpy(rotation_grid(SEARCH_ANGLE).as_matrix()).to(volume)
        search = Grid(rotations, shift_grid(max_shift_voxels, 2.0, band.device))
        schemes = torch.zeros(len(goals), dtype=torch.long, device=band.device)
        initial = best_on_grid(coefficients, schemes, complete, reference, search)
    return refine_poses(
        coefficients, complete, reference, initial, 2 * max_shift_voxels + 1, REFINEMENT_STEPS
    )


@dataclass(frozen=True)
class NoiseAgreement:
    """Correlation of unrelated maps after superposition.

    Attributes
    ----------
    score
        The best correlation from `superpose`.
    correlation
        (shells,) mean Fourier shell correlation inside the mask.
    """

    score: float
    correlation: NDArray[np.float64]


def noise_agreement(
    half1: Tensor, half2: Tensor, mask: Tensor, band: Band, max_shift_voxels: float, seed: int
) -> NoiseAgreement:
    """Superpose half-map 2 on phase-randomised copies of half-map 1.

    Superposition takes the best of all rotations and shifts, so even unrelated maps correlate above zero
    afterwards. This function measures by how much.
    """
    generator = torch.Generator().manual_seed(seed)
    random = [randomise_phases(half1, 1, generator) * mask for _ in range(NOISE_DRAWS)]
    other = half2 * mask
    poses, scores = _superpose_on_each(random, other, band, None, max_shift_voxels)
    curves = [
        fourier_shell_correlation(one, rotated(other, poses.chosen(torch.tensor([number]))), 1.0).correlation
        for number, one in enumerate(random)
    ]
    return NoiseAgreement(float(scores.max()), np.mean(curves, axis=0))


def rotated(volume: Tensor, pose: Poses) -> Tensor:
    """Return the (z, y, x) map rotated and shifted by a pose, with cubic interpolation."""
    return rotate_volumes(volume[None], pose.matrices, pose.shifts_voxels, "cubic")[0]


def transform_poses(poses: Poses, superposition: Poses) -> Poses:
    """Return the particles' poses relative to a reference that was moved by `superposition`."""
    matrices = poses.matrices @ superposition.matrices.transpose(1, 2)
    moved = torch.einsum("nij,j->ni", matrices, superposition.shifts_voxels[0])
    return Poses(matrices, poses.shifts_voxels - moved)


def _shell_amplitudes(coefficients: Tensor, band: Band) -> Tensor:
    power = torch.zeros(band.shells + 1, device=band.device)
    power.index_add_(0, band.shell, coefficients.abs() ** 2)
    amplitude = (power / band.shell_sizes.clamp(min=1)).sqrt()
    return amplitude.clamp(min=1e-6 * float(amplitude.max()) + 1e-12)[band.shell]
