"""Padding of tomograms: constant voxels that programs add around a rotated or thinner volume.

Padding is a region of one exact value that touches a face of the volume. It is found in two steps: large patches
of one value on a face, then, from each voxel of a patch, the depth to which the value stays the same. Padding
around a convex volume in any rotation is reached this way along x, y or z, so six planes of depths describe the
padding of a volume of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryopipe.files.opening import release_pages
from cryopipe.volume.statistics import is_grey_value, robust_deviation

_SHORTEST = 8
"""Voxels; a patch shorter than this along both axes of a face is not padding."""
_LEAST = 1 / 8
"""Fraction of the face's edge; a patch shorter than this is not padding: saturated beads and noise are small."""
_LEVEL = 0.2
"""Smallest fraction of a patch's voxels whose eight neighbours must all have the same value."""
_SMALLEST_STEP = 0.15
"""Robust standard deviations of the data; a patch whose value differs by less than this from most of the voxels next
to it is not padding but a smooth part of a tomogram stored as integers."""
_SAMPLES = 1_000_000
_GROWN = 1
"""Voxels next to padding that count as padded: interpolation has mixed the padding's value into them."""
_RELEASED = 64
"""Sections after which the pages of a memory map are released."""

Index = NDArray[np.int64]
Planes = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True)
class Padding:
    """The padded region of a volume.

    Attributes
    ----------
    low, high
        For the axes z, y, x: the index where the data begin and where they end (exclusive) on each line along that
        axis, over the two other axes in their order.
    fraction
        Number of padded voxels over that of all voxels.
    values
        Values of the padding, at most one per face.
    """

    low: Planes
    high: Planes
    fraction: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Region:
    """The voxels of a tomogram that hold data: neither padded nor outside its mask.

    Attributes
    ----------
    shape
        Of the tomogram, (z, y, x).
    padding
        None if there is none.
    mask
        (z, y, x), above 0 inside; None if there is none.
    """

    shape: tuple[int, ...]
    padding: Padding | None = None
    mask: NDArray[Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether there is neither padding nor a mask."""
        return self.padding is None and self.mask is None

    def grid(self, z: Index, y: Index, x: Index) -> NDArray[np.bool_]:
        """Return which voxels of a grid hold data.

        Parameters
        ----------
        z, y, x
            Indices within the volume along each axis, in any order.

        Returns
        -------
        (len(z), len(y), len(x)).
        """
        result = np.ones((len(z), len(y), len(x)), dtype=bool)
        if self.padding is not None:
            for axis, (index, first, second) in enumerate(((z, y, x), (y, z, x), (x, z, y))):
                places = np.expand_dims(index, tuple(a for a in range(3) if a != axis))
                for planes, beyond in ((self.padding.low, np.greater_equal), (self.padding.high, np.less)):
                    result &= beyond(places, np.expand_dims(planes[axis][np.ix_(first, second)], axis))
        if self.mask is not None:
            result &= gather(self.mask, (z, y, x)) > 0
            release_pages(self.mask)
        return result

    def holds(self, voxels: Index) -> NDArray[np.bool_]:
        """Return which of the voxels (n, 3) z, y, x, all within the volume, hold data: (n,)."""
        z, y, x = voxels.T
        result = np.ones(len(voxels), dtype=bool)
        if self.padding is not None:
            for axis, (index, line) in enumerate(((z, (y, x)), (y, (z, x)), (x, (z, y)))):
                result &= (index >= self.padding.low[axis][line]) & (index < self.padding.high[axis][line])
        if self.mask is not None:
            # Plane by plane, releasing pages: reading one page loads its neighbours into memory.
            for plane in np.unique(z[result]):
                here = np.flatnonzero(result & (z == plane))
                result[here] = self.mask[plane][y[here], x[here]] > 0
                release_pages(self.mask)
        return result


def gather(volume: NDArray[Any], indices: tuple[Index, Index, Index]) -> NDArray[Any]:
    """Return the voxels of a grid given by indices along z, y and x in any order; reads only these of a memory map."""
    lows = [int(index.min()) for index in indices]
    spans = []
    for low, index in zip(lows, indices, strict=True):
        step = int(index[1] - index[0]) if len(index) > 1 else 1
        even = index[0] == low and step > 0 and bool((np.diff(index) == step).all())
        spans.append(slice(low, int(index.max()) + 1, step if even else 1))
    values = volume[tuple(spans)]
    for axis, (span, low, index) in enumerate(zip(spans, lows, indices, strict=True)):
        if values.shape[axis] != len(index) or (span.step == 1 and (np.diff(index) != 1).any()):
            values = np.take(values, index - low, axis=axis)
    return values


def find_padding(volume: NDArray[Any]) -> Padding | None:
    """Find the padding of a volume.

    Parameters
    ----------
    volume
        (z, y, x) of any number type; a memory map is read a section at a time.

    Returns
    -------
    The padding, one voxel wider than the constant region (`fraction` is that of the constant region); None if there
    is none.
    """
    sides = [
        (axis, bool(side), face, _patches(face))
        for axis, pair in enumerate(_faces(volume))
        for side, face in enumerate(pair)
    ]
    suspected = np.unique(np.concatenate([face[patches] for _, _, face, patches in sides]))
    if not len(suspected):
        return None
    least = _SMALLEST_STEP * _deviation(volume, suspected)
    depths, values = [], set()
    for axis, from_end, face, patches in sides:
        depth, step = _depths(volume, axis, from_end, face, patches)
        for value in np.unique(face[patches]):
            here = patches & (face == value)
            ends = step[here & np.isfinite(step)]
            if len(ends) and np.median(ends) < least:
                depth[here] = 0
            else:
                values.add(float(value))
        depths.append(depth)
    if not values:
        return None
    exact = _planes(depths, volume.shape, 0)
    region = Region(volume.shape, Padding(*exact, 0.0, ()))
    z, y, x = (np.arange(size) for size in volume.shape)
    data = sum(int(np.count_nonzero(region.grid(z[[plane]], y, x))) for plane in z)
    grown = _planes(depths, volume.shape, _GROWN)
    return Padding(*grown, 1 - data / volume.size, tuple(sorted(values)))


def _planes(depths: list[NDArray[np.int32]], shape: tuple[int, ...], grown: int) -> tuple[Planes, Planes]:
    """Convert depths of padding to indices where data begin and end, the padding widened by `grown` voxels."""
    wider = [depth + np.int32(grown) * (depth > 0) for depth in depths]
    low = [np.minimum(depth, size) for depth, size in zip(wider[::2], shape, strict=True)]
    high = [np.maximum(size - depth, 0) for depth, size in zip(wider[1::2], shape, strict=True)]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _faces(volume: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Copy the first and the last plane along each axis."""
    z, y, x = volume.shape
    native = volume.dtype.newbyteorder("=")
    along_z = np.array(volume[0], dtype=native), np.array(volume[-1], dtype=native)
    along_y = np.empty((z, x), native), np.empty((z, x), native)
    along_x = np.empty((z, y), native), np.empty((z, y), native)
    for start in range(0, z, _RELEASED):
        part = slice(start, start + _RELEASED)
        for side in (0, -1):
            along_y[side][part] = volume[part, side, :]
            along_x[side][part] = volume[part, :, side]
        release_pages(volume)
    return [along_z, along_y, along_x]


def _patches(face: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the voxels of a face in patches of one value that are large enough to be padding.

    Requiring eight equal neighbours for many voxels excludes chance patches in noise stored as integers.
    """
    result = np.zeros(face.shape, dtype=bool)
    if min(face.shape) < 3:
        return result
    centre = face[1:-1, 1:-1]
    level = np.ones(centre.shape, dtype=bool)
    for row, column in np.ndindex(3, 3):
        level &= face[row : row + centre.shape[0], column : column + centre.shape[1]] == centre
    for value in np.unique(centre[level]):
        # regionprops of skimage.measure gives the same areas and spans in 2.5 times the time.
        labels, count = ndimage.label(face == value, np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        within = np.bincount(labels[1:-1, 1:-1][level & (centre == value)], minlength=count + 1)
        for number in np.flatnonzero((areas >= 3 * _SHORTEST) & (within > 0) & (within >= _LEVEL * areas)):
            patch = labels == number
            spans = (np.flatnonzero(patch.any(axis=1 - axis)) for axis in range(2))
            if any(
                span[-1] - span[0] + 1 >= max(_SHORTEST, _LEAST * size)
                for span, size in zip(spans, face.shape, strict=True)
            ):
                result |= patch
    return result


def _deviation(volume: NDArray[Any], suspected: NDArray[Any]) -> float:
    """Return the robust standard deviation of a sample of the voxels without the suspected values."""
    stride = max(1, math.ceil(math.sqrt(volume.size / _SAMPLES)))
    voxels = volume[::stride, ::stride].ravel()
    release_pages(volume)
    voxels = voxels[is_grey_value(voxels) & ~np.isin(voxels, suspected)].astype(np.float64)
    return robust_deviation(voxels)[1]


def _depths(
    volume: NDArray[Any], axis: int, from_end: bool, face: NDArray[Any], patches: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Measure how deep the patches of a face reach into the volume.

    Returns
    -------
    The number of consecutive voxels with the face's value, and the difference of the next voxel from it (NaN where
    there is no next voxel).
    """
    depths, steps = np.zeros(face.shape, dtype=np.int32), np.full(face.shape, np.nan)
    if not patches.any():
        return depths, steps
    if axis == 0:
        alive = patches.copy()
        for section in _sections(volume, from_end):
            ending = alive & (section != face)
            steps[ending] = _distance(section[ending], face[ending])
            alive &= ~ending
            if not alive.any():
                break
            depths += alive
        return depths, steps
    for number, section in enumerate(_sections(volume, False)):
        here = patches[number]
        if here.any():
            lines = section[here] if axis == 2 else section[:, here].T
            lines = lines[:, ::-1] if from_end else lines
            value = face[number][here]
            differs = lines != value[:, None]
            ends, first = differs.any(axis=1), differs.argmax(axis=1)
            depths[number][here] = np.where(ends, first, lines.shape[1])
            step = _distance(lines[np.arange(len(lines)), first], value)
            steps[number][here] = np.where(ends, step, np.nan)
    return depths, steps


def _distance(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # of NaN and infinity
        return np.abs(first.astype(np.float64) - second.astype(np.float64))


def _sections(volume: NDArray[Any], from_end: bool) -> Iterator[NDArray[Any]]:
    """Yield the sections along z and release the pages of a memory map."""
    order = range(len(volume))
    for count, number in enumerate(reversed(order) if from_end else order, 1):
        yield volume[number]
        if count % _RELEASED == 0:
            release_pages(volume)
    release_pages(volume)
