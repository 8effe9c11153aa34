"""Extraction of boxes at whole voxels of a tomogram, for RELION."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cryopipe.volume.padding import Region, find_padding
from cryopipe.volume.windows import overlap_windows

SAMPLE = 200
"""Number of boxes from which a tomogram's grey scale is measured."""


def even_box_size(width: float, voxel_size: float) -> int:
    """Return the smallest even number of voxels that spans `width` angstrom."""
    return max(2, 2 * math.ceil(width / voxel_size / 2 - 1e-6))


def cut_boxes(
    volume: NDArray[np.generic],
    centres: NDArray[np.int64],
    box_size: int,
    contrast: str,
    seed: int,
) -> Iterator[NDArray[np.float32]]:
    """Cut one box per particle, particles bright, background at mean 0 and standard deviation 1.

    All boxes of a tomogram are divided by one number, the median of their backgrounds' standard
    deviations, so that they have the same scale; the background is the volume outside the inscribed sphere.
    Voxels beyond the tomogram, or in its padding, are filled with noise of the box's own background.

    Parameters
    ----------
    volume
        (z, y, x), may be memory-mapped.
    centres
        (n, 3) x, y, z of the voxel at `box_size // 2` of the box.
    box_size
        Voxels, even.
    contrast
        "dark" inverts the sign.
    seed
        Seed of the noise.

    Yields
    ------
    (z, y, x) float32.
    """
    background = _outside_sphere(box_size)
    sign = -1.0 if contrast == "dark" else 1.0
    region = Region(volume.shape, find_padding(volume))
    every = max(1, len(centres) // SAMPLE)
    deviations = [
        _statistics(*_cut(volume, region, centre, box_size), background)[1] for centre in centres[::every]
    ]
    positive = [deviation for deviation in deviations if deviation > 0]
    scale = float(np.median(positive)) if positive else 1.0
    for number, centre in enumerate(centres):
        box, known = _cut(volume, region, centre, box_size)
        mean, deviation = _statistics(box, known, background)
        rng = np.random.default_rng([seed, number])
        filled = np.where(known, box, mean + (deviation or scale) * rng.standard_normal(box.shape))
        yield (sign * (filled - mean) / scale).astype(np.float32)


def _outside_sphere(box_size: int) -> NDArray[np.bool_]:
    axis = np.arange(box_size) - box_size // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return radius >= box_size / 2 - 1


def _cut(
    volume: NDArray[np.generic], region: Region, centre: NDArray[np.int64], box_size: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the box, 0 beyond the tomogram, and where it is known: in the tomogram, and not in its padding."""
    low = centre[::-1] - box_size // 2
    box = np.zeros((box_size,) * 3)
    known = np.zeros(box.shape, dtype=bool)
    source, target = overlap_windows(low, box.shape, volume.shape)
    box[target] = volume[source]
    known[target] = region.grid(*(np.arange(part.start, part.stop) for part in source))
    return box, known


def _statistics(
    box: NDArray[np.float64], known: NDArray[np.bool_], background: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return mean and standard deviation of the background, or of all known voxels if the background is unknown."""
    values = box[known & background]
    if values.size < 2:
        values = box[known]
    return (float(values.mean()), float(values.std())) if values.size else (0.0, 0.0)
