"""Density against the distance from a map's centre."""

from __future__ import annotations

import numpy as np


def radial_profile(volume: np.ndarray, voxel_size: float) -> tuple[np.ndarray, np.ndarray]:
    """Average a map over shells one voxel wide about its centre n // 2.

    Parameters
    ----------
    volume
        (z, y, x).
    voxel_size
        Angstrom.

    Returns
    -------
    Radii in angstrom and mean densities, both (m,), out to the largest sphere in the box.
    """
    shape = np.array(volume.shape)
    grid = np.indices(volume.shape) - (shape // 2).reshape(3, 1, 1, 1)
    shell = np.rint(np.sqrt(np.sum(grid**2, axis=0))).astype(int).ravel()
    count = int((shape.min() - 1) // 2) + 1
    sums = np.bincount(shell, np.asarray(volume, np.float64).ravel())
    means = sums / np.bincount(shell)
    return np.arange(count) * voxel_size, means[:count]
