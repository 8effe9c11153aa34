"""Randomly rotated copies of boxes, computed on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cryopipe.features.training.distributed import Draws
from cryopipe.volume.rotate import rotation_matrices, sampling_grid, source_offsets


def uniform_rotations(draws: Draws) -> Tensor:
    """Return rotation matrices (n, 3, 3), uniform on SO(3), one for each box of this process."""
    return rotation_matrices(draws.normal(4))


def rotated_copies(boxes: Tensor, matrices: Tensor, draws: Draws) -> Tensor:
    """Rotate boxes about their centres and fill the corners from outside the box with noise.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0 and standard deviation 1, on the device of `draws`.
    matrices
        (n, 3, 3) active rotations on xyz column vectors, about voxel size // 2.
    draws
        Random numbers of the noise, N(0, 1), for n boxes.

    Returns
    -------
    (n, z, y, x), by trilinear interpolation.
    """
    offsets = source_offsets(boxes.shape[1:], matrices.to(boxes.dtype))
    return resampled(boxes, offsets, draws.normal(*boxes.shape[1:]).to(boxes.dtype))


def resampled(boxes: Tensor, offsets: Tensor, outside: Tensor) -> Tensor:
    """Interpolate boxes at other positions.

    Parameters
    ----------
    boxes
        (n, z, y, x).
    offsets
        (n, z, y, x, 3) x, y, z of each new voxel from voxel size // 2, voxels.
    outside
        Values of voxels from outside the box, broadcastable to the boxes.

    Returns
    -------
    (n, z, y, x), by trilinear interpolation.
    """
    grid = sampling_grid(offsets + boxes.shape[-1] // 2, boxes.shape[1:])
    values = F.grid_sample(boxes[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    return torch.where((grid.abs() > 1).any(dim=-1), outside, values[:, 0])
