"""Robust statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DEVIATION_PER_MAD = 1.4826
"""Ratio of standard deviation to median absolute deviation (MAD) of a normal distribution."""


def robust_deviation(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the median and the standard deviation estimated from the MAD; 0, 0 if `values` is empty."""
    if not values.size:
        return 0.0, 0.0
    median = float(np.median(values))
    return median, DEVIATION_PER_MAD * float(np.median(np.abs(values - median)))
