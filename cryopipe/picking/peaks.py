"""From maxima on a lattice to particles: sub-lattice positions, robust scores, one pick per particle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_NORMAL = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


def robust_statistics(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the median and the standard deviation as the median absolute deviation tells it.

    Where more than half of the values are one and the same (padding), they are left out; the deviation is 0
    only if all values are the same, or there are none.
    """
    if not len(values):
        return 0.0, 0.0
    median = float(np.median(values))
    deviation = np.abs(values - median)
    sigma = float(np.median(deviation)) * _NORMAL
    if sigma == 0 and deviation.any():
        return robust_statistics(values[deviation > 0])
    return median, sigma


def refine(around: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the top of the parabola through each maximum and its neighbours.

    Parameters
    ----------
    around
        (n, 3, 3, 3) values at the maxima (centre) and their neighbours, axes z, y, x.

    Returns
    -------
    Offsets of the tops from the centres z, y, x, (n, 3), within +-0.5 of a lattice step, and heights (n,).
    """
    values = np.asarray(around, dtype=np.float64)
    centre = values[:, 1, 1, 1]
    gradient = np.zeros((len(values), 3))
    curvature = np.zeros((len(values), 3, 3))
    for a in range(3):
        line = values[:, *(slice(None) if axis == a else 1 for axis in range(3))]
        gradient[:, a] = (line[:, 2] - line[:, 0]) / 2
        curvature[:, a, a] = line[:, 2] - 2 * line[:, 1] + line[:, 0]
        for b in range(a):
            plane = values[:, *(1 if axis == 3 - a - b else slice(None) for axis in range(3))]
            mixed = (plane[:, 2, 2] - plane[:, 2, 0] - plane[:, 0, 2] + plane[:, 0, 0]) / 4
            curvature[:, a, b] = curvature[:, b, a] = mixed
    single = np.einsum("naa->na", curvature)
    # Along single axes the top of a maximum is never further than half a step; it serves where the whole
    # parabola is a saddle or too flat.
    simple = np.divide(-gradient, single, out=np.zeros_like(gradient), where=single < 0)
    definite = np.linalg.eigvalsh(curvature)[:, 2] < 0
    offset = simple.copy()
    offset[definite] = -np.linalg.solve(curvature[definite], gradient[definite][..., None])[..., 0]
    wild = (np.abs(offset) > 1).any(axis=1)
    offset[wild] = simple[wild]
    offset = np.clip(offset, -0.5, 0.5)
    height = (
        centre
        + (gradient * offset).sum(axis=1)
        + 0.5 * (offset[:, :, None] * curvature * offset[:, None, :]).sum(axis=(1, 2))
    )
    return offset, np.maximum(height, centre)


def suppress(
    positions: NDArray[np.float64], strengths: NDArray[np.float64], distances: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Keep the strongest of the points that lie too close together.

    Parameters
    ----------
    positions
        (n, 3), any unit.
    strengths
        (n,); the strongest point is taken, all too close to it are dropped, and so on.
    distances
        (n,) distance that each point claims, same unit as the positions; of two points the larger claim counts.

    Returns
    -------
    Indices of the points kept, strongest first. Ties are broken by position, so that the order of the input
    does not matter.
    """
    order = np.lexsort((*positions.T, -strengths))
    if not len(order):
        return order
    points, claims = positions[order], distances[order]
    tree = cKDTree(points)
    largest = float(claims.max())
    alive = np.ones(len(order), dtype=bool)
    for first in range(len(order)):
        if not alive[first]:
            continue
        near = np.array(tree.query_ball_point(points[first], largest), dtype=int)
        near = near[near > first]
        separation = np.linalg.norm(points[near] - points[first], axis=1)
        alive[near[separation < np.maximum(claims[first], claims[near])]] = False
    return order[alive]
