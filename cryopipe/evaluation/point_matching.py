"""Pairs found points with true ones, one to one, within a radius."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Matches:
    """Pairs of a found and a true point.

    Attributes
    ----------
    found, truth
        Indices into the found and the true points, both (pairs,); no index stands twice.
    distances
        Distance of each pair, (pairs,), in the points' unit.
    found_count, truth_count
        Number of points on either side.
    """

    found: np.ndarray
    truth: np.ndarray
    distances: np.ndarray
    found_count: int
    truth_count: int


def match_points(found: np.ndarray, truth: np.ndarray, radius: float) -> Matches:
    """Match as many found points to true ones as possible and, among those ways, with the least distance.

    Greedy matching would let one pick take a neighbour's centre and so count both wrong; this is the
    optimum. Only pairs within the radius are ever looked at, so that memory follows the points, not
    their square.

    Parameters
    ----------
    found, truth
        (n, 3) and (m, 3) in one unit and one order of axes.
    radius
        Largest distance of a pair, in the same unit.

    Returns
    -------
    The pairs, in the order of `found`.
    """
    found = np.asarray(found, float).reshape(-1, 3)
    truth = np.asarray(truth, float).reshape(-1, 3)
    empty = np.zeros(0, int)
    if not len(found) or not len(truth):
        return Matches(empty, empty, np.zeros(0), len(found), len(truth))
    pairs = cKDTree(found).sparse_distance_matrix(cKDTree(truth), radius, output_type="ndarray")
    rows, columns = _assign(pairs["i"], pairs["j"], pairs["v"], len(found), len(truth), radius)
    distances = np.linalg.norm(found[rows] - truth[columns], axis=1)
    return Matches(rows, columns, distances, len(found), len(truth))


def _assign(
    rows: np.ndarray, columns: np.ndarray, distances: np.ndarray, found: int, truth: int, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-weight matching in which a found point may stay alone, at a price above any saving.

    Only points with a neighbour take part. Each has a column of its own, past those of the truth, that
    stands for "no match"; with it a full matching always exists. Weights start at `radius`, since a
    sparse matrix holds no zeros.
    """
    active, compact = np.unique(rows, return_inverse=True)
    alone = radius * (2.0 * len(active) + 3.0)
    own = np.arange(len(active))
    weights = np.concatenate([distances + radius, np.full(len(active), alone)])
    graph = coo_array(
        (weights, (np.concatenate([compact, own]), np.concatenate([columns, truth + own]))),
        shape=(len(active), truth + len(active)),
    )
    matched, partner = min_weight_full_bipartite_matching(graph.tocsr())
    kept = partner < truth
    return active[matched[kept]], partner[kept]
