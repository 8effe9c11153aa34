"""Robust statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import DataError

DEVIATION_PER_MAD = 1.4826
"""Ratio of standard deviation to median absolute deviation (MAD) of a normal distribution."""

LARGEST = 1e12
"""Largest magnitude of a grey value; sums and squares of larger ones overflow in single precision."""


def is_grey_value(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are numbers of a magnitude up to `LARGEST`: neither NaN nor infinite nor damaged."""
    if values.dtype.kind != "f":
        return np.ones(values.shape, dtype=bool)
    return np.abs(values) <= min(LARGEST, float(np.finfo(values.dtype).max))


def single_precision(values: NDArray[Any]) -> NDArray[np.float32]:
    """Convert to single precision; NaN of any bit pattern stays NaN, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(np.float32, subok=False)


def grey_values(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return the voxels of a tomogram in single precision.

    Raises
    ------
    DataError
        If a voxel is NaN, infinite or above `LARGEST` in magnitude; `name` is named.
    """
    converted = single_precision(values)
    # The extremes are NaN if a value is; this needs no temporary array.
    if converted.size and values.dtype.kind == "f" and not is_grey_value(_extremes(converted)).all():
        raise DataError(
            f"contains NaN, infinite values or values above {LARGEST:g}",
            file=name,
            remedy="run `cryopipe check`, then fix the file or remove the tomogram from the table",
        )
    return converted


def _extremes(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):
        return np.array([values.min(), values.max()], dtype=np.float32)


def robust_deviation(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the median and the standard deviation estimated from the MAD; 0, 0 if `values` is empty."""
    if not values.size:
        return 0.0, 0.0
    median = float(np.median(values))
    return median, DEVIATION_PER_MAD * float(np.median(np.abs(values - median)))
