"""Boxes and volumes that overlap in part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Window = tuple[slice, ...]


def overlap_windows(
    low: NDArray[np.int64], box_shape: Sequence[int], volume_shape: Sequence[int]
) -> tuple[Window, Window]:
    """Return what a box and a volume have in common, as slices of the volume and of the box.

    Parameters
    ----------
    low
        Voxel of the volume at which the box's first voxel lies, per axis; may be negative.
    box_shape, volume_shape
        Voxels per axis.

    Returns
    -------
    Two tuples of slices that select equally many voxels; none if the box lies outside the volume.

    Examples
    --------
    >>> overlap_windows(np.array([-2, 7]), (4, 4), (10, 10))
    ((slice(0, 2, None), slice(7, 10, None)), (slice(2, 4, None), slice(0, 3, None)))
    """
    starts = np.asarray(low)
    first = np.clip(starts, 0, volume_shape)
    last = np.clip(starts + np.asarray(box_shape), 0, volume_shape)
    return _window(first, last), _window(first - starts, last - starts)


def _window(first: NDArray[np.int64], last: NDArray[np.int64]) -> Window:
    return tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
