"""One-to-one matching of found points with true points within a radius."""

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
        Indices into the found and the true points, both (pairs,); every index occurs at most once.
    distances
        Distance of each pair, (pairs,), in the points' unit.
    found_count, truth_count
        Number of all found and of all true points.
    """

    found: np.ndarray
    truth: np.ndarray
    distances: np.ndarray
    found_count: int
    truth_count: int


def match_points(found: np.ndarray, truth: np.ndarray, radius: float) -> Matches:
    """Match the largest possible number of points, with the smallest total distance.

    Greedy matching could pair a pick with a neighbour's centre and so lose two matches; this matching is
    optimal. Only pairs within the radius are stored, so memory is linear in the number of points.

    Parameters
    ----------
    found, truth
        (n, 3) and (m, 3), in the same unit and order of axes.
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
    """Return the minimum-weight matching in which found points may stay unmatched, at a high cost.

    Only found points with a neighbour are included. Each has an extra column that means "no match", so a full
    matching always exists; its cost is higher than any gain in distance. `radius` is added to all weights,
    since a sparse matrix stores no zeros.
    """
    active, compact = np.unique(rows, return_inverse=True)
    unmatched = radius * (2.0 * len(active) + 3.0)
    own = np.arange(len(active))
    weights = np.concatenate([distances + radius, np.full(len(active), unmatched)])
    graph = coo_array(
        (weights, (np.concatenate([compact, own]), np.concatenate([columns, truth + own]))),
        shape=(len(active), truth + len(active)),
    )
    matched, partner = min_weight_full_bipartite_matching(graph.tocsr())
    kept = partner < truth
    return active[matched[kept]], partner[kept]
