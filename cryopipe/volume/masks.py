"""Spherical masks and radial profiles."""

from __future__ import annotations

import torch
from torch import Tensor

from cryopipe.volume.fourier import Shape, cubic_shape


def radius_grid(box_size: Shape, device: torch.device | str = "cpu") -> Tensor:
    """Return the distance of every voxel from the centre n // 2: (z, y, x), voxels."""
    axes = [torch.arange(n, device=device, dtype=torch.float32) - n // 2 for n in cubic_shape(box_size)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)


def radial_profile(volume: Tensor) -> Tensor:
    """Return the means of a (z, y, x) volume over shells one voxel wide about its centre n // 2.

    Returns
    -------
    (m,) in double precision, at radii of 0, 1, ... voxels, out to the largest sphere in the volume.
    """
    shells = radius_grid(volume.shape, volume.device).round().long()
    values, count = volume.double(), (min(volume.shape) - 1) // 2 + 1
    return torch.stack([values[shells == shell].mean() for shell in range(count)])


def sphere_mask(
    box_size: Shape,
    radius_voxels: float,
    soft_edge_voxels: float = 3.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return a spherical mask about the centre with a raised-cosine edge.

    Parameters
    ----------
    box_size
        Edge of a cube, or shape (z, y, x).
    radius_voxels
        The mask is 1 up to this radius.
    soft_edge_voxels
        Width over which the mask falls from 1 to 0; 0 for a hard edge.
    device
        Device of the result.

    Returns
    -------
    (z, y, x) float, 0 to 1.
    """
    radius = radius_grid(box_size, device)
    if soft_edge_voxels <= 0:
        return (radius <= radius_voxels).to(radius.dtype)
    beyond = ((radius - radius_voxels) / soft_edge_voxels).clamp(0, 1)
    return (1 + torch.cos(torch.pi * beyond)) / 2
