"""Half-sets without a particle or a neighbourhood in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
LARGEST_PART = 0.5
"""Largest neighbourhood, as a fraction of all particles. In a crowded tomogram nearly all particles are connected by
pairs of neighbours and could not be divided."""


def neighbourhoods(positions: FloatArray, tomograms: Sequence[str], distance: float) -> NDArray[np.intp]:
    """Join particles that are nearer to each other than a distance, the nearest pairs first.

    Two picks of one particle, or two boxes with a neighbour in common, contain the same noise and density. In different
    half-sets they would make the half-maps agree.

    Parameters
    ----------
    positions
        (n, 3) angstrom.
    tomograms
        (n,) names of the particles' tomograms.
    distance
        Angstrom.

    Returns
    -------
    (n,) numbers of the neighbourhoods, from 0. None has more than half of the particles: pairs that would join two
    to a larger one stay apart, and the log states how many particles then have a neighbour in another neighbourhood.
    """
    count = len(positions)
    pairs, lengths = _near_pairs(positions, tomograms, distance)
    parents, sizes = np.arange(count), np.ones(count, np.intp)

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = int(parents[number])
        return number

    largest = int(np.ceil(LARGEST_PART * count))
    for first, second in _shortest_tree(pairs, lengths, count):
        a, b = root(first), root(second)
        if sizes[a] + sizes[b] <= largest:
            parents[b], sizes[a] = a, sizes[a] + sizes[b]
    groups = np.unique([root(number) for number in range(count)], return_inverse=True)[1].reshape(-1)
    apart = np.unique(pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]])
    if len(apart):
        logger.warning(
            "%d of %d particles have a neighbour nearer than %.0f A that may be in the other half-set: the tomograms are "
            "crowded",
            *(len(apart), count, distance),
        )
    return groups.astype(np.intp)


def assign_half_sets(groups: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Assign whole groups of particles to half-set 1 or 2, at random and in numbers as equal as possible.

    Parameters
    ----------
    groups
        (n,) number of each particle's group, from 0; the particles of a group are in one half-set.
    rng
        Source of the random order.

    Returns
    -------
    (n,) 1 or 2; both occur if there are at least two groups.
    """
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, half_of = [0, 0], np.ones(len(sizes), np.intp)
    for group in order:
        half = int(filled[1] < filled[0])
        half_of[group] = half + 1
        filled[half] += int(sizes[group])
    return half_of[groups]


def _near_pairs(
    positions: FloatArray, tomograms: Sequence[str], distance: float
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return (m, 2) pairs of particles of one tomogram that are nearer than a distance, and their (m,) distances."""
    names, found = np.asarray(tomograms, dtype=str), [np.zeros((0, 2), np.intp)]
    for name in np.unique(names):
        here = np.flatnonzero(names == name)
        found.append(here[cKDTree(positions[here]).query_pairs(distance, output_type="ndarray")])
    pairs = np.concatenate(found)
    return pairs, np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)


def _shortest_tree(pairs: NDArray[np.intp], lengths: FloatArray, count: int) -> list[tuple[int, int]]:
    """Return the pairs of the graph's minimum spanning trees, the shortest first."""
    if not len(pairs):
        return []
    # An entry of 0 would be no connection.
    graph = coo_array((lengths + 1.0, (pairs[:, 0], pairs[:, 1])), shape=(count, count)).tocsr()
    tree = minimum_spanning_tree(graph).tocoo()
    order = np.argsort(tree.data, kind="stable")
    return [(int(tree.row[i]), int(tree.col[i])) for i in order]
