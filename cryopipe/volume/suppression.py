"""Non-maximum suppression of points by distance."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree


def suppress(
    positions: ArrayLike,
    strengths: ArrayLike,
    distances: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    distance_of: Literal["both", "stronger"] = "both",
    ties: Literal["position", "order"] = "position",
) -> NDArray[np.int64]:
    """Keep the strongest of the points that are too close together.

    The strongest point is kept and all points too close to it are dropped; then the strongest of the rest is kept,
    and so on.

    Parameters
    ----------
    positions
        (n, 3), any unit.
    strengths
        (n,) higher is stronger.
    distances
        (n,) shortest distance of each point to another, same unit as the positions.
    groups
        (n,) only points of the same group are compared, for example of the same tomogram; None compares all.
    distance_of
        Which distance applies to two points: the larger one of "both", or that of the "stronger" one.
    ties
        Which of equally strong points comes first: that with the smaller "position", so that the result does not
        depend on the order of the input, or the first in the "order" of the input.

    Returns
    -------
    Indices of the points kept, strongest first.
    """
    points, values = np.asarray(positions, np.float64), np.asarray(strengths, np.float64)
    keys = (*points.T, -values) if ties == "position" else (-values,)
    order = np.lexsort(keys)
    if not len(order):
        return order
    kept = np.zeros(len(order), dtype=bool)
    limits = np.asarray(distances, np.float64)[order]
    for members in _members(None if groups is None else np.asarray(groups)[order], len(order)):
        kept[members] = _strongest(points[order[members]], limits[members], distance_of == "both")
    return order[kept]


def _members(groups: NDArray[np.generic] | None, count: int) -> list[NDArray[np.int64]]:
    """Return the indices of the points of each group, in ascending order."""
    if groups is None:
        return [np.arange(count)]
    _, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])


def _strongest(points: NDArray[np.float64], limits: NDArray[np.float64], both: bool) -> NDArray[np.bool_]:
    """Return which points, given strongest first, are kept."""
    tree, largest = cKDTree(points), float(limits.max())
    kept = np.ones(len(points), dtype=bool)
    nearest = tree.query(points, k=[2])[0][:, 0]
    for first in np.flatnonzero(nearest < largest):
        if not kept[first]:
            continue
        near = np.array(tree.query_ball_point(points[first], largest if both else limits[first]), dtype=int)
        near = near[near > first]
        separation = np.linalg.norm(points[near] - points[first], axis=1)
        limit = np.maximum(limits[first], limits[near]) if both else limits[first]
        kept[near[separation < limit]] = False
    return kept
