"""Selection of one pick per particle among overlapping candidates of several diameters."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

OVERLAP = 0.75
"""Candidates nearer than this fraction of the sum of their radii are one particle."""


def select_particles(
    positions: NDArray[np.float64],
    diameters: NDArray[np.float64],
    energies: NDArray[np.float64],
    distance: float | None = None,
) -> NDArray[np.int64]:
    """Choose candidates whose extents do not overlap, so that they explain as much as possible.

    From the smallest diameter to the largest, and from the highest energy to the lowest, a candidate replaces those
    chosen before that it overlaps if it explains more than all of these together. A large or hollow particle so replaces
    the fragments found in it, and a group of separate particles is not replaced by a ball around them.

    Parameters
    ----------
    positions
        (n, 3) z, y, x, any unit.
    diameters
        (n,) same unit.
    energies
        (n,) what each candidate explains, above what noise does.
    distance
        Shortest distance of two particles, same unit; None for `OVERLAP` of the sum of their radii.

    Returns
    -------
    Indices of the chosen candidates, in ascending order.
    """
    order = np.lexsort((*positions.T, -energies, diameters))
    if not len(order):
        return order
    chosen = np.zeros(len(order), dtype=bool)
    for first, last in _runs(diameters[order]):
        members = order[first:last]
        before = np.flatnonzero(chosen)
        rivals = np.concatenate([before, members])
        tree = cKDTree(positions[rivals])
        limits = _limits(diameters[members[0]], diameters[rivals], distance)
        near = tree.query_ball_point(positions[members], float(limits.max()))
        for member, neighbours in zip(members, near, strict=True):
            found = np.array(neighbours, dtype=int)
            found = found[(rivals[found] != member) & chosen[rivals[found]]]
            apart = np.linalg.norm(positions[rivals[found]] - positions[member], axis=1)
            overlapping = rivals[found[apart < limits[found]]]
            if energies[member] > energies[overlapping].sum() or not len(overlapping):
                chosen[overlapping] = False
                chosen[member] = True
    return np.flatnonzero(chosen)


def _limits(diameter: float, others: NDArray[np.float64], distance: float | None) -> NDArray[np.float64]:
    if distance is not None:
        return np.full(len(others), distance)
    return OVERLAP * (diameter + others) / 2


def _runs(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return start and stop of the runs of equal values."""
    ends = np.flatnonzero(np.diff(values)) + 1
    edges = [0, *(int(end) for end in ends), len(values)]
    return list(itertools.pairwise(edges))
