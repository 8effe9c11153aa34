"""Significance of classes: q-values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def q_values(p: ArrayLike) -> NDArray[np.float64]:
    """Return the (n,) q-values of p-values: the smallest false discovery rate at which each is accepted.

    NaN stays NaN and does not count as a test.

    Notes
    -----
    Benjamini and Hochberg, J. R. Statist. Soc. B 57 (1995) 289-300.

    Examples
    --------
    >>> q_values([0.01, 0.5, 0.02]).tolist()
    [0.03, 0.5, 0.03]
    """
    values = np.asarray(p, np.float64)
    result = np.full(len(values), np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    ranked = values[order] * len(order) / np.arange(1, len(order) + 1)
    result[order] = np.minimum(1.0, np.minimum.accumulate(ranked[::-1])[::-1])
    return result
