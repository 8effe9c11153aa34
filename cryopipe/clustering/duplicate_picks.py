"""Detection of particles that were picked more than once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree


def find_duplicates(
    positions: ArrayLike, groups: ArrayLike, scores: ArrayLike, distances: ArrayLike
) -> NDArray[np.bool_]:
    """Return which particles are too near to one with a higher score.

    The particle with the highest score is kept and those near it are duplicates; then the next of the rest, and so on.

    Parameters
    ----------
    positions
        (n, 3) in any unit.
    groups
        (n,) tomogram of each particle; only particles of one tomogram are compared.
    scores
        (n,) higher is better; of equal scores the first is kept.
    distances
        (n,) smallest distance to another particle, in the unit of `positions`.

    Returns
    -------
    (n,) True for duplicates.
    """
    points, limits = np.asarray(positions, float), np.asarray(distances, float)
    groups, values = np.asarray(groups), np.asarray(scores, float)
    duplicate = np.zeros(len(points), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        tree = cKDTree(points[members])
        for number in members[np.argsort(-values[members], kind="stable")]:
            if not duplicate[number]:
                near = members[tree.query_ball_point(points[number], limits[number])]
                lower = (values[near] < values[number]) | ((values[near] == values[number]) & (near > number))
                duplicate[near[lower]] = True
    return duplicate
