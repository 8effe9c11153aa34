"""Tomograms with planted large particles that are picked on their parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe.particles import pick_table
from cryopipe.volume.geometry import random_rotations
from cryopipe.volume.wedge import wedge_mask

VOXEL = 20.0
PARTS = np.array([[70.0, 0, 0], [-60, 40, 0], [-30, -60, 30], [0, 20, -75], [-20, 30, 70]])
"""Balls of the particle, x, y, z in angstrom from its centre of mass (below)."""
WEIGHTS = np.array([1.6, 1.0, 0.9, 0.8, 0.7])
CENTRE = WEIGHTS @ PARTS / WEIGHTS.sum()


@dataclass
class Planted:
    """A tomogram (z, y, x) of bright particles, the particles' centres (angstrom), and picks with their owners."""

    volume: NDArray[np.float32]
    centres: NDArray[np.float64]
    picks: pd.DataFrame
    owners: NDArray[np.int64]


def planted_tomogram(
    seed: int, noise: float, second_pick: float, count: tuple[int, int, int] = (6, 6, 2)
) -> Planted:
    """Plant particles 300 A from each other; each is picked on its heaviest part, and some on a second one, too."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in count), indexing="ij"), axis=-1).reshape(-1, 3)
    centres = 300.0 * (grid + 0.75) + rng.uniform(-20, 20, grid.shape)
    rotations = random_rotations(len(grid), rng)
    shape = tuple(int(300 * (n + 0.5) / VOXEL) for n in count[::-1])
    volume = np.zeros(shape, np.float64)
    for centre, rotation in zip(centres, rotations, strict=True):
        for place, weight in zip(rotation.apply(PARTS - CENTRE) + centre, WEIGHTS, strict=True):
            _add_ball(volume, place / VOXEL, weight)
    volume += rng.normal(0, noise, shape)
    wedge = wedge_mask(shape, (-60, 60)).numpy()
    volume = np.fft.ifftn(np.fft.fftn(volume) * wedge).real
    owners = np.concatenate([np.arange(len(grid)), np.flatnonzero(rng.random(len(grid)) < second_pick)])
    part = np.repeat([0, 1], [len(grid), len(owners) - len(grid)])
    places = np.array([rotations[int(o)].apply(PARTS[p] - CENTRE) for o, p in zip(owners, part, strict=True)])
    places = places + centres[owners] + rng.normal(0, 8, (len(owners), 3))
    scores, diameters = np.full(len(owners), 5.0), np.full(len(owners), 160.0)
    picks = pick_table("a", "a.mrc", places / VOXEL, VOXEL, scores, diameters)
    return Planted(volume.astype(np.float32), centres, picks, owners)


def _add_ball(volume: NDArray[np.float64], place_xyz: NDArray[np.float64], weight: float) -> None:
    """Add a ball with a standard deviation of 30 A."""
    axes = [np.arange(n) - p for n, p in zip(volume.shape, place_xyz[::-1], strict=True)]
    z, y, x = (np.exp(-0.5 * (axis * VOXEL / 30) ** 2) for axis in axes)
    volume += weight * z[:, None, None] * y[:, None] * x
