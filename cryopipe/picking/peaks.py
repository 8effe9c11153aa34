"""Maxima of a response, their refinement to sub-lattice positions, and robust statistics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.volume.statistics import robust_deviation

REACH = 3
"""Lattice points on either side of a maximum used in its refinement."""
_SPACING = 0.25
_SMALLEST_CURVATURE = 1e-6
"""Smallest ratio of the curvatures of a maximum along two axes."""
_RISE = 1.2
"""Largest ratio of a maximum's height to the estimate from the parabolas through its six nearest neighbours."""
_SLAB = 2**18
"""Points searched at a time; they fit into a processor's cache."""
_BATCH = 512
"""Maxima refined at a time; the values around them fit into a processor's cache."""


def robust_statistics(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the median and the robust standard deviation, from the median absolute deviation.

    A value that makes up more than half of all (padding) is excluded; the deviation is 0 only if all values are
    equal, or there are none.
    """
    median, sigma = robust_deviation(values)
    if sigma == 0 and (values != median).any():
        return robust_statistics(values[values != median])
    return median, sigma


def upper_deviation(values: NDArray[np.floating], median: float) -> float:
    """Return the 99th percentile of the distances from the median; values equal to it (padding) are excluded.

    Particles fill more than a hundredth of most tomograms and contribute to it; gold beads do not. The median
    absolute deviation reflects the noise alone and would clip the particles of a tomogram with little noise.
    """
    deviation = np.abs(values - median)
    return float(np.percentile(deviation[deviation > 0], 99))


def find_peaks(response: Tensor, lowest: float) -> tuple[Tensor, Tensor]:
    """Find the maxima of a response that can reach a height between the lattice points.

    Maxima are positive and not lower than their six nearest neighbours. The 20 diagonal neighbours are ignored,
    because on a coarse lattice a particle beside a stronger one is often lower than the flank of that one. A point
    of a flat region, as in padding, is not a maximum, because rounding can make it positive. peak_local_max of
    scikit-image compares with the whole cube around a point, diagonal neighbours included, and has no GPU.

    Parameters
    ----------
    response
        (z, y, x), with a margin of `REACH` points on every side.
    lowest
        Height that must be within reach.

    Returns
    -------
    Indices z, y, x of the maxima in the response without its margin, (n, 3), and the response around them,
    (n, 7, 7, 7).
    """
    depth, height, width = (n - 2 * REACH for n in response.shape)
    rows = depth if response.is_cuda else max(1, _SLAB // (height * width))
    peaks = torch.cat([_candidates(response, z, min(z + rows, depth)) for z in range(0, depth, rows)])
    strides = (response.shape[1] * response.shape[2], response.shape[2], 1)
    flat = response.contiguous().view(-1)
    index = (peaks + REACH) @ torch.tensor(strides).to(peaks)
    values = flat[index]
    rise, above = torch.zeros_like(values), torch.zeros_like(values, dtype=torch.bool)
    for stride in strides:
        before, after = flat[index - stride], flat[index + stride]
        above |= (values > before) | (values > after)
        curvature = 2 * values - before - after
        rise += torch.where(curvature > 0, (after - before).square() / (8 * curvature), 0)
    peaks = peaks[above & ((values + rise) * _RISE >= lowest)]
    windows = response
    for axis in range(3):
        windows = windows.unfold(axis, 2 * REACH + 1, 1)
    return peaks, windows[peaks.unbind(1)]


def _candidates(response: Tensor, first: int, last: int) -> Tensor:
    """Return the indices z, y, x of positive points of sections not lower than their six nearest neighbours."""
    core = [slice(first + REACH, last + REACH), *(slice(REACH, n - REACH) for n in response.shape[1:])]
    inner = response[tuple(core)]
    highest = inner > 0
    for axis in range(3):
        for by in (-1, 1):
            beside = list(core)
            beside[axis] = slice(core[axis].start + by, core[axis].stop + by)
            highest &= inner >= response[tuple(beside)]
    found = torch.nonzero(highest)
    found[:, 0] += first
    return found


def refine(
    around: NDArray[np.floating],
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Find the maxima of a smooth function between the points of a lattice.

    A parabola through each point and its next neighbours gives an approximate position; a polynomial through
    seven points per axis interpolates the values around it, and a parabola through these gives the maximum.

    Parameters
    ----------
    around
        (n, 7, 7, 7) values, axes z, y, x, around points (centre) that are higher than their six nearest neighbours.

    Returns
    -------
    Whether there is a maximum within a lattice step, (n,); points without one are shoulders of another maximum.
    Offsets z, y, x of the maxima from the centres, (n, 3), and heights (n,).
    """
    found = np.zeros(len(around), dtype=bool)
    offsets, heights = np.zeros((len(around), 3)), np.zeros(len(around))
    core = slice(REACH - 1, REACH + 2)
    for start in range(0, len(around), _BATCH):
        part = slice(start, start + _BATCH)
        values = np.asarray(around[part], dtype=np.float64)
        rough, _, _ = _parabola(values[:, core, core, core], 1.5)
        rough = np.clip(rough, -0.5, 0.5)
        fine, heights[part], top = _parabola(_interpolate(values, rough), 1 / _SPACING)
        offset = rough + _SPACING * fine
        summit = values[:, REACH, REACH, REACH] >= values[:, core, core, core].max(axis=(1, 2, 3))
        found[part] = (top & (np.abs(offset) <= 1).all(axis=1)) | summit
        offsets[part] = np.clip(offset, -1, 1)
    return found, offsets, heights


def _interpolate(values: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (n, 3, 3, 3) on a finer lattice of spacing `_SPACING` about the offsets (n, 3) z, y, x."""
    points = np.arange(-REACH, REACH + 1)
    scale = np.array([np.prod(i - points[points != i]) for i in points], dtype=np.float64)
    for axis in range(3):
        places = offsets[:, axis, None] + _SPACING * np.array([-1, 0, 1])
        values = np.moveaxis(values, axis + 1, 1)
        # Lagrange weight of point i: the polynomial that is 1 there and 0 at the other points
        difference = places[..., None] - points
        before, after = np.ones_like(difference), np.ones_like(difference)
        np.cumprod(difference[..., :-1], axis=-1, out=before[..., 1:])
        np.cumprod(difference[..., :0:-1], axis=-1, out=after[..., -2::-1])
        weights = before * after / scale
        shape = values.shape
        values = np.matmul(weights, values.reshape(len(values), len(points), -1))
        values = np.moveaxis(values.reshape(len(values), 3, *shape[2:]), 1, axis + 1)
    return values


def _parabola(
    values: NDArray[np.float64], limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Fit parabolas to (n, 3, 3, 3) values; return offsets z, y, x of the maxima (n, 3), heights, and whether they exist.

    Without a maximum within `limit` steps, the maxima of the parabolas along the single axes are used.
    """
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
    offset = np.divide(-gradient, single, out=np.zeros_like(gradient), where=single < 0)
    eigenvalues = np.linalg.eigvalsh(curvature)
    # There is no maximum if it is flat along an axis except for rounding, as at the border of padding.
    top = eigenvalues[:, 2] < -_SMALLEST_CURVATURE * np.abs(eigenvalues[:, 0])
    whole = -np.linalg.solve(curvature[top], gradient[top][..., None])[..., 0]
    near = (np.abs(whole) <= limit).all(axis=1)
    top[top] = near
    offset[top] = whole[near]
    offset = np.clip(offset, -limit, limit)
    half_rise = (gradient * offset).sum(axis=1) / 2
    return offset, values[:, 1, 1, 1] + np.maximum(half_rise, 0), top
