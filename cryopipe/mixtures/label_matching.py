"""Labels of two clusterings of the same particles brought into agreement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def match_labels(labels: NDArray[np.int64], previous: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rename clusters so that as many particles as possible keep their previous label.

    The renaming is one to one and optimal (Hungarian method). Clusters without a counterpart take the
    numbers that are left, in order.

    Parameters
    ----------
    labels
        (n,) new labels, 0..K-1.
    previous
        (n,) labels of the same particles before, 0..M-1.

    Returns
    -------
    (n,) `labels` renamed, 0..K-1 if K >= M. If there are fewer clusters than before, the kept numbers are
    closed up so that they are again 0..K-1.
    """
    if not len(labels):
        return labels.copy()
    count, before = int(labels.max()) + 1, int(previous.max()) + 1
    shared = np.zeros((count, before), int)
    np.add.at(shared, (labels, previous), 1)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    names = np.full(count, -1)
    names[rows] = columns
    free = [name for name in range(max(count, before)) if name not in set(columns)]
    names[names < 0] = free[: int((names < 0).sum())]
    if count < before:
        names = np.argsort(np.argsort(names))
    return names[labels]


def agreement(labels: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the share of particles with the same label; 1 if there are none."""
    return float(np.mean(labels == other)) if len(labels) else 1.0
