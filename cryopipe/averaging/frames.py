"""Maps brought into one frame, and the poses that follow them."""

from __future__ import annotations

import torch
from torch import Tensor

from cryopipe.averaging.band import Band
from cryopipe.averaging.search import Grid, Poses, Reference, best_on_grid, refine_poses, shift_grid
from cryopipe.volume.geometry import rotation_grid
from cryopipe.volume.rotate import rotate_volumes

SEARCH_ANGLE = 12.0
"""Covering radius in degrees of the search for the rotation between two maps."""


def centre_of_density(volume: Tensor) -> Tensor:
    """Return the centre (x, y, z) of what stands out of a (z, y, x) map, voxels from the box's centre."""
    weight = (volume - 0.3 * volume.max()).clamp(min=0)
    axes = [torch.arange(n, device=volume.device) - n // 2 for n in volume.shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    total = weight.sum().clamp(min=1e-12)
    return torch.stack([(weight * axis).sum() / total for axis in (x, y, z)])


def common_frame(
    target: Tensor, volume: Tensor, band: Band, guess: Poses | None, max_shift_voxels: float, rounds: int = 6
) -> Poses:
    """Return the pose that carries `volume` onto `target`.

    Parameters
    ----------
    target, volume
        (z, y, x) maps.
    band
        The coefficients compared, all shells alike.
    guess
        Where to begin; None to try all rotations.
    max_shift_voxels
        Farthest shift tried.
    rounds
        Steps of local refinement at most.

    Returns
    -------
    One rotation and shift.
    """
    complete = torch.ones(1, len(band), device=band.device)
    coefficients = band.coefficients(target[None])
    noise = _shell_amplitudes(coefficients[0], band)
    reference = Reference(
        band,
        band.reference_grid(volume, gradient=True),
        _shell_amplitudes(band.coefficients(volume[None])[0], band),
    )
    coefficients = coefficients / noise
    if guess is None:
        grid = torch.from_numpy(rotation_grid(SEARCH_ANGLE).as_matrix()).to(volume)
        search = Grid(grid, shift_grid(max_shift_voxels, 2.0, band.device))
        guess = best_on_grid(
            coefficients, torch.zeros(1, dtype=torch.long, device=band.device), complete, reference, search
        )
    return refine_poses(coefficients, complete, reference, guess, 2 * max_shift_voxels + 1, rounds)[0]


def turned(volume: Tensor, pose: Poses) -> Tensor:
    """Return the (z, y, x) map in a pose, by cubic interpolation."""
    return rotate_volumes(volume[None], pose.matrices, pose.shifts_voxels, "cubic")[0]


def transform_poses(poses: Poses, frame: Poses) -> Poses:
    """Return the same particles' poses against a reference that was carried by `frame`."""
    matrices = poses.matrices @ frame.matrices.transpose(1, 2)
    moved = torch.einsum("nij,j->ni", matrices, frame.shifts_voxels[0])
    return Poses(matrices, poses.shifts_voxels - moved)


def _shell_amplitudes(coefficients: Tensor, band: Band) -> Tensor:
    power = torch.zeros(band.shells + 1, device=band.device)
    power.index_add_(0, band.shell, coefficients.abs() ** 2)
    amplitude = (power / band.shell_sizes.clamp(min=1)).sqrt()
    return amplitude.clamp(min=1e-6 * float(amplitude.max()) + 1e-12)[band.shell]
