"""Sizes of picks: planted balls and shells, alone and touching, are picked once and at their own diameter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cryopipe.picking import PickOptions, Picks, pick_particles
from cryopipe.picking.one_per_particle import select_particles

VOXEL = 10.0
DIAMETERS = (100.0, 140.0, 200.0, 280.0, 400.0)
OPTIONS = PickOptions(diameters=DIAMETERS, threshold=5.0)
Objects = list[tuple[tuple[float, float, float], float, float]]
"""Centre z, y, x in angstrom, diameter, and wall in fractions of the radius (1: a ball)."""


def plant(shape: tuple[int, int, int], objects: Objects, deviation: float, seed: int) -> NDArray[np.float32]:
    """Return bright objects of density 1 in noise."""
    volume = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(deviation)
    for centre, diameter, wall in objects:
        low = [max(0, int((c - diameter / 2) / VOXEL) - 4) for c in centre]
        window = tuple(slice(a, a + int(diameter / VOXEL) + 9) for a in low)
        part = volume[window]
        axes = (VOXEL * (a + np.arange(n)) - c for a, n, c in zip(low, part.shape, centre, strict=True))
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        radius = np.sqrt(z**2 + y**2 + x**2)
        part += 1 / (1 + np.exp(np.clip((radius - diameter / 2) / 4, -50, 50)))
        if wall < 1:
            part -= 1 / (1 + np.exp(np.clip((radius - (1 - wall) * diameter / 2) / 4, -50, 50)))
    return volume


def sizes_found(picks: Picks, objects: Objects) -> tuple[int, int]:
    """Return how many objects have a single pick in them with their diameter, and how many picks are in no object."""
    centres = np.array([centre for centre, _, _ in objects])[:, ::-1] / VOXEL
    diameters = np.array([diameter for _, diameter, _ in objects])
    own, used = 0, np.zeros(len(picks), bool)
    for centre, diameter in zip(centres, diameters, strict=True):
        apart = np.linalg.norm(picks.coordinates - centre, axis=1) * VOXEL
        inside = np.flatnonzero(apart < diameter / 2)
        used[inside] = True
        own += len(inside) == 1 and picks.diameters[inside[0]] == diameter and apart[inside[0]] < diameter / 6
    return own, int((~used).sum())


def alone(seed: int) -> tuple[tuple[int, int, int], Objects]:
    rng = np.random.default_rng(seed)
    places = [(350.0, 300.0 + 600 * row, 300.0 + 600 * column) for row in range(3) for column in range(5)]
    kinds = [(diameter, wall) for diameter in DIAMETERS for wall in (1.0, 0.4, 0.25)]
    kinds = [(d, w if d > 100 else max(w, 0.4)) for d, w in kinds]  # a wall of at least two voxels
    return (70, 180, 300), [
        (tuple(np.array(place) + rng.uniform(-20, 20, 3)), *kind)
        for place, kind in zip(places, rng.permutation(np.array(kinds)), strict=True)
    ]


def touching(seed: int) -> tuple[tuple[int, int, int], Objects]:
    """Pairs of every two diameters, in contact in a random direction."""
    rng = np.random.default_rng(seed)
    objects: Objects = []
    pairs = [(a, b) for i, a in enumerate(DIAMETERS) for b in DIAMETERS[i:]]
    for number, (first, second) in enumerate(pairs):
        place = np.array([400.0, 450 + 900 * (number // 5), 450 + 900 * (number % 5)])
        direction = rng.normal(size=3) * (0.3, 1, 1)
        direction *= (first + second) / 2 / np.linalg.norm(direction)
        part = second / (first + second)
        for centre, diameter in (
            (place + part * direction, first),
            (place + (part - 1) * direction, second),
        ):
            objects.append(
                (tuple(centre), diameter, float(rng.choice([1.0, 0.4])) if diameter > 100 else 1.0)
            )
    return (80, 270, 450), objects


@pytest.mark.parametrize("arrangement", [alone, touching])
def test_balls_and_shells_are_picked_once_at_their_own_diameter(
    arrangement: Callable[[int], tuple[tuple[int, int, int], Objects]],
) -> None:
    own = total = false = 0
    for seed in (1,):
        shape, objects = arrangement(seed)
        picks = pick_particles(plant(shape, objects, 0.4, seed), VOXEL, OPTIONS, "bright")
        found, outside = sizes_found(picks, objects)
        own, total, false = own + found, total + len(objects), false + outside
    assert own >= 0.95 * total
    assert false <= 0.05 * total


def test_a_large_particle_replaces_its_fragments_but_not_separate_particles() -> None:
    positions = np.array([[0.0, 0, 0], [0, 0, 30], [0, 0, -30], [0, 30, 0], [0, 0, 90]])
    diameters = np.array([100.0, 40, 40, 40, 40])
    fragments, separate = np.array([50.0, 10, 10, 10, 10]), np.array([50.0, 20, 20, 20, 10])
    assert select_particles(positions, diameters, fragments).tolist() == [0, 4]
    assert select_particles(positions, diameters, separate).tolist() == [1, 2, 3, 4]
    assert select_particles(positions[:0], diameters[:0], fragments[:0]).tolist() == []
    # a distance given replaces the radii
    assert select_particles(positions, diameters, fragments, distance=100).tolist() == [0]
