"""An asymmetric map made of Gaussian balls: it can be rotated and shifted exactly."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

CENTRES = np.array(
    [
        [5.0, 0.5, -1.0],
        [-3.5, 4.0, 1.5],
        [0.5, -4.5, 3.0],
        [1.5, 2.0, 5.0],
        [-2.0, -2.5, -4.5],
        [0.0, 0.0, 0.0],
    ]
)
"""Of the balls, x, y, z, voxels from the box centre."""
WEIGHTS = np.array([1.0, 0.7, 1.2, 0.5, 0.9, 1.1])


def asymmetric_map(
    box_size: int,
    rotation: Rotation | None = None,
    shift_voxels: tuple[float, float, float] = (0.0, 0.0, 0.0),
    width: float = 1.6,
    scale: float = 1.0,
) -> Tensor:
    """Draw the balls, rotated and then shifted; nothing is interpolated."""
    centres = CENTRES * scale if rotation is None else rotation.apply(CENTRES * scale)
    centres = centres + np.asarray(shift_voxels)
    axis = np.arange(box_size) - box_size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((box_size,) * 3)
    for (cx, cy, cz), weight in zip(centres, WEIGHTS, strict=True):
        volume += weight * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width**2))
    return torch.from_numpy(volume)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1])
