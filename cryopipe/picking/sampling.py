"""Samples of voxels and responses for robust statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.files.opening import release_pages
from cryopipe.picking.filters import Block, difference, discrete_gaussian
from cryopipe.picking.parallel import Ranges
from cryopipe.picking.source import Source
from cryopipe.volume.padding import Region
from cryopipe.volume.statistics import grey_values, single_precision

if TYPE_CHECKING:
    from cryopipe.picking.blobs import Scale

_SAMPLES = 1_000_000
"""Number of voxels sampled for the statistics of a tomogram."""


def sample_voxels(volume: NDArray[Any], region: Region, name: str) -> NDArray[np.float32]:
    """Return the known voxels of about a million, in whole rows at regular steps in z and y."""
    stride = max(1, math.ceil(math.sqrt(volume.size / _SAMPLES)))
    voxels = single_precision(volume[::stride, ::stride])
    release_pages(volume)
    depth, height, width = volume.shape
    known = region.grid(np.arange(0, depth, stride), np.arange(0, height, stride), np.arange(width))
    return grey_values(voxels[known], name)


def sample_response(
    smoothed: Block, ranges: Ranges, scale: Scale, stride: int, source: Source
) -> NDArray[np.float64]:
    """Return the response at known lattice points whose indices are multiples of `stride`.

    Voxels equal to their neighbours along all three axes are excluded: they were erased inside the tomogram.

    Parameters
    ----------
    smoothed
        Values and weights after the narrow Gaussian, at the points of `ranges` and `scale.halo` more on every side.
    ranges
        Lattice points, start and stop along z, y, x.
    scale, source
        The filter and the tomogram.
    """
    kernel = discrete_gaussian(scale.extra)
    margin = scale.halo - len(kernel) + 1
    starts = [-a % stride for a, _ in ranges]
    if any(a + start >= b for (a, b), start in zip(ranges, starts, strict=True)):
        return np.zeros(0)

    def cut(block: torch.Tensor) -> torch.Tensor:
        return block[
            tuple(
                slice(margin + s, n - margin) if n > 1 else slice(None)
                for s, n in zip(starts, block.shape, strict=True)
            )
        ]

    part = Block(cut(smoothed.values), [cut(factor) for factor in smoothed.weights])
    sampled = difference(part, kernel, stride).cpu().numpy().astype(np.float64)
    places = [
        (a + start + stride * np.arange(count)) * scale.step
        for (a, _), start, count in zip(ranges, starts, sampled.shape, strict=True)
    ]
    volume = source.volume
    # The last lattice points are beyond the end of the volume.
    z, y, x = places = [place[place < n] for place, n in zip(places, volume.shape, strict=True)]
    sampled = sampled[tuple(slice(len(place)) for place in places)]
    # Plane by plane, releasing the pages: reading a page of a memory map also loads neighbouring pages.
    wanted = np.zeros(sampled.shape, dtype=bool)
    for number, plane in enumerate(z if sampled.size else ()):
        values = volume[plane][np.ix_(y, x)]
        wanted[number] = volume[_beside(plane)][np.ix_(y, x)] != values
        wanted[number] |= volume[plane][np.ix_(_beside(y), x)] != values
        wanted[number] |= volume[plane][np.ix_(y, _beside(x))] != values
        release_pages(volume)
        wanted[number] &= source.region.grid(np.array([plane]), y, x)[0]
    return sampled[wanted]


def _beside(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of a neighbour of each voxel: the previous one, or for the first voxel the next one."""
    return np.where(index > 0, index - 1, 1)
