"""Relative orientations of neighbouring particles, compared with orientations exchanged within classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryopipe.evidence.neighbourhood import Sites

PERMUTATIONS = 999
FEWEST = 8
"""Neighbours."""


@dataclass(frozen=True)
class RelativeOrientation:
    """How similar the relative orientations of neighbours are.

    Attributes
    ----------
    neighbours
        Particles with a neighbour within the distance.
    alike
        0 if relative rotations and directions are uniform, 1 if all neighbours have the same; the mean of both.
    expected
        The mean of this with exchanged orientations.
    p
        Probability of at least this with exchanged orientations.
    """

    neighbours: int
    alike: float
    expected: float
    p: float


def relative_orientation(
    sites: Sequence[Sites], first: int, second: int, distance: float, seed: int
) -> RelativeOrientation:
    """Measure how similar the orientations of neighbours are relative to those of the particles.

    Parameters
    ----------
    sites
        One per tomogram.
    first, second
        Indices of two classes; of each particle of `first`, the nearest one of `second` is its neighbour.
    distance
        Largest distance of neighbours, angstrom.
    seed
        Of the exchanges.

    Notes
    -----
    Orientations are exchanged among the particles of a class in the same tomogram, so that preferred orientations and
    arrangements that are not relative to the particles count for nothing.
    """
    own, other, directions = [], [], []
    rotations = Rotation.concatenate([one.rotations for one in sites]) if sites else Rotation.identity(0)
    start, groups = 0, []
    for number, one in enumerate(sites):
        a, b, steps = _neighbours(one, first, second, distance)
        own.append(a + start)
        other.append(b + start)
        directions.append(steps)
        groups.append(one.classes * len(sites) + number)
        start += len(one.classes)
    a, b = (np.concatenate([np.zeros(0, np.int64), *part]) for part in (own, other))
    if len(a) < FEWEST:
        return RelativeOrientation(len(a), math.nan, math.nan, math.nan)
    steps = np.concatenate(directions)
    group = np.concatenate(groups)
    rng = np.random.default_rng([seed, 33, first, second])
    matrices, quaternions = rotations.as_matrix(), rotations.as_quat()
    observed = _alike(matrices, quaternions, a, b, steps)
    used = np.flatnonzero(np.isin(group, np.unique(group[np.concatenate([a, b])])))
    order = np.lexsort((rng.random(len(used)), group[used]))
    sorted_places = used[order]
    permuted = []
    for _ in range(PERMUTATIONS):
        drawn = used[np.lexsort((rng.random(len(used)), group[used]))]
        exchange = np.arange(len(group))
        exchange[sorted_places] = drawn
        permuted.append(_alike(matrices, quaternions, exchange[a], exchange[b], steps))
    at_least = int((np.array(permuted) >= observed - 1e-12).sum())
    return RelativeOrientation(
        len(a), observed, float(np.mean(permuted)), (1 + at_least) / (1 + PERMUTATIONS)
    )


def _neighbours(
    one: Sites, first: int, second: int, distance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return indices of particles and of their nearest neighbours, and the unit vectors between them."""
    mine, others = (np.flatnonzero(one.classes == number) for number in (first, second))
    nothing = np.zeros(0, np.int64)
    rank = 2 if first == second else 1
    if len(others) < rank or not len(mine):
        return nothing, nothing, np.zeros((0, 3))
    found, which = cKDTree(one.positions[others]).query(one.positions[mine], k=[rank])
    near = (found[:, 0] <= distance) & (found[:, 0] > 0)
    a, b = mine[near], others[which[near, 0]]
    steps = one.positions[b] - one.positions[a]
    return a, b, steps / np.linalg.norm(steps, axis=1, keepdims=True)


def _alike(
    matrices: NDArray[np.float64],
    quaternions: NDArray[np.float64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    steps: NDArray[np.float64],
) -> float:
    directions = np.einsum("nji,nj->ni", matrices[a], steps)
    relative = _relative(quaternions[a], quaternions[b])
    return (_excess(directions) + _excess(relative)) / 2


def _relative(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 4) quaternions x, y, z, w of the inverse of the first rotations after the second ones."""
    v, w, u, t = first[:, :3], first[:, 3:], second[:, :3], second[:, 3:]
    vector = w * u - t * v - np.cross(v, u)
    return np.concatenate([vector, w * t + (v * u).sum(axis=1, keepdims=True)], axis=1)


def _excess(vectors: NDArray[np.float64]) -> float:
    """Return how far axes (n, d) are from uniform, 0 to 1."""
    moments = vectors.T @ vectors / len(vectors)
    dimensions = vectors.shape[1]
    return float((moments**2).sum() - 1 / dimensions) / (1 - 1 / dimensions)
