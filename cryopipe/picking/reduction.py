"""The middle of a tomogram with larger voxels, small enough to be searched at many diameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryopipe.files.opening import release_pages

_MOST_VOXELS = 2**25
"""Of the reduced volume, which is held in memory."""


@dataclass(frozen=True)
class Reduced:
    """A part of a tomogram with larger voxels.

    Attributes
    ----------
    volume
        (z, y, x) in memory.
    mask
        The same, or None.
    factor
        Edge of its voxels, voxels of the tomogram.
    first
        z, y, x of the part's first voxel in the tomogram.
    """

    volume: NDArray[Any]
    mask: NDArray[Any] | None
    factor: int
    first: tuple[int, ...]

    def in_tomogram(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions z, y, x (n, 3) of the part in voxels of the tomogram."""
        return np.array(self.first) + (positions + 0.5) * self.factor - 0.5


def reduced(volume: NDArray[Any], mask: NDArray[Any] | None, coarsest: float) -> Reduced:
    """Return the middle of a tomogram with averaged voxels.

    Parameters
    ----------
    volume, mask
        (z, y, x); memory maps are read section by section.
    coarsest
        Largest edge of the new voxels, voxels of the tomogram.
    """
    factor = max(1, min(math.floor(coarsest), min(volume.shape) // 2))
    depth, height, width = (n // factor for n in volume.shape)
    cut = math.sqrt(min(1.0, _MOST_VOXELS / (depth * height * width)))
    size = depth, max(1, int(height * cut)), max(1, int(width * cut))
    first = tuple((n - factor * m) // 2 for n, m in zip(volume.shape, size, strict=True))
    kept = None if mask is None else _averaged(mask, first, size, factor, inside=True) >= 1
    return Reduced(_averaged(volume, first, size, factor), kept, factor, first)


def _averaged(
    volume: NDArray[Any], first: tuple[int, ...], size: tuple[int, ...], factor: int, inside: bool = False
) -> NDArray[np.float32]:
    """Return means of voxels, or with `inside` fractions of voxels above 0."""
    depth, height, width = size
    z0, y0, x0 = first
    result = np.empty(size, np.float32)
    for plane in range(depth):
        z = z0 + plane * factor
        block = volume[z : z + factor, y0 : y0 + height * factor, x0 : x0 + width * factor]
        values = np.asarray(block > 0 if inside else block, np.float32)
        result[plane] = values.reshape(factor, height, factor, width, factor).mean(axis=(0, 2, 4))
        release_pages(volume)
    return result
