"""Matching of cluster labels between two clusterings of the same particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def match_labels(labels: NDArray[np.int64], previous: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rename clusters so that as many particles as possible keep their previous label.

    The assignment is one to one and optimal (Hungarian method). Clusters without a counterpart take the
    remaining numbers in order.

    Parameters
    ----------
    labels
        (n,) new labels, 0..K-1.
    previous
        (n,) previous labels of the same particles, 0..M-1.

    Returns
    -------
    (n,) `labels` renamed, 0..K-1 if K >= M. If there are fewer clusters than before, the numbers are
    renumbered in order so that they are 0..K-1.
    """
    if not len(labels):
        return labels.copy()
    count, before = int(labels.max()) + 1, int(previous.max()) + 1
    overlap = np.zeros((count, before), int)
    np.add.at(overlap, (labels, previous), 1)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    names = np.full(count, -1)
    names[rows] = columns
    free = [name for name in range(max(count, before)) if name not in set(columns)]
    names[names < 0] = free[: int((names < 0).sum())]
    if count < before:
        names = np.argsort(np.argsort(names))
    return names[labels]


def agreement(labels: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the fraction of particles with the same label; 1 if there are no particles."""
    return float(np.mean(labels == other)) if len(labels) else 1.0
