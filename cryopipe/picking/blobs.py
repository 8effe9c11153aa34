"""Difference-of-Gaussians filtering of volumes larger than memory, and detection of the maxima.

A Gaussian of several voxels removes frequencies near the Nyquist limit, so wide filters are computed on a coarse
lattice of every `step`-th voxel. A first, narrow Gaussian prevents aliasing on the lattice (to about 0.1 % at the
frequencies that pass the filter); the Gaussians applied on the lattice add the remaining variance.

All filters are sums of shifted copies in a fixed order of rounding. A value therefore depends only on its
neighbourhood, not on the division into chunks, and picks are reproducible to the last bit.

Voxels beyond the faces, in padding or outside the mask are unknown. They are replaced by the local mean of the
known voxels under the wide Gaussian, which avoids responses and maxima at their border. With weights w, 1 for known
and 0 for unknown voxels, the response to a volume v is N(wv) - W(wv) N(w) / W(w), where N and W are the narrow and
the wide Gaussian. Without padding and mask, the weights are a product of three factors along the axes, and so are
N(w) and W(w).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.files.opening import release_pages
from cryopipe.picking.filters import Block, difference, filtered, gaussian, radius_of
from cryopipe.picking.parallel import (
    Ranges,
    chunk_size_for,
    chunks,
    expanded,
    extent,
    in_parallel,
    intersection,
    points,
    workers_on,
)
from cryopipe.picking.peaks import REACH
from cryopipe.progress import Progress
from cryopipe.volume.padding import Region, gather
from cryopipe.volume.statistics import grey_values

RATIO = 1.1
"""Ratio of the wide to the narrow Gaussian, as in DISCA; close to 1 it approximates the Laplacian of a Gaussian."""
_COARSEST = 1.5
"""Lattice steps; narrowest Gaussian on a coarse lattice, with a gain of 1/40,000 at the Nyquist limit."""
_FIRST = 0.7
"""Lattice steps; Gaussian applied before subsampling to the coarse lattice."""
_TILE_POINTS = 2
"""Most points of the coarse lattice in memory, in units of `chunk_voxels`; a larger lattice is processed in tiles
that overlap by halos."""
Result = TypeVar("Result")


def sigmas_for(diameter: float) -> tuple[float, float]:
    """Return the standard deviations of the two Gaussians with the strongest response to a ball of `diameter`.

    All in one unit. The scale-normalised Laplacian of a Gaussian at the centre of a ball of radius r is proportional
    to (r/s)^3 exp(-r^2 / 2 s^2), which is largest at s = r / sqrt(3). That s is the geometric mean of the two.
    """
    best = diameter / (2 * math.sqrt(3))
    return best / math.sqrt(RATIO), best * math.sqrt(RATIO)


@dataclass(frozen=True)
class Scale:
    """Filter for one diameter in one tomogram.

    Attributes
    ----------
    step
        Lattice spacing, voxels.
    first
        Standard deviation of the Gaussian before subsampling, voxels; 0 without subsampling.
    narrow, wide
        Standard deviations of the Gaussians applied on the lattice, lattice steps.
    """

    step: int
    first: float
    narrow: float
    wide: float

    @classmethod
    def for_diameter(cls, diameter_voxels: float) -> Scale:
        """Return the filter for a diameter in voxels, on the coarsest possible lattice."""
        narrow, wide = sigmas_for(diameter_voxels)
        step = max(1, int(narrow / _COARSEST))
        first = _FIRST * step if step > 1 else 0.0
        return cls(step, first, *(math.sqrt(s**2 - first**2) / step for s in (narrow, wide)))

    @property
    def halo(self) -> int:
        """Lattice points needed on every side by the filter and the search for maxima."""
        return radius_of(self.wide) + REACH

    def lattice(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of lattice points along every axis: those in the volume and the first beyond its end."""
        return tuple((n - 1) // self.step + 2 for n in shape)


@dataclass(frozen=True)
class Chunk:
    """Part of the response and its maxima: positive points no lower than their six nearest neighbours.

    Attributes
    ----------
    ranges
        Lattice points, start and stop along z, y, x.
    response
        Response at these points.
    peaks
        Lattice indices z, y, x of the maxima, (n, 3).
    around
        Response around each maximum, (n, 7, 7, 7).
    """

    ranges: Ranges
    response: Tensor
    peaks: NDArray[np.int64]
    around: NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """Input of the filters: a volume centred, clipped, with bright particles, and 0 at unknown voxels.

    Attributes
    ----------
    volume
        (z, y, x), of any number type; usually a memory map.
    median
        Median of the volume, which is subtracted.
    limit
        Magnitude at which the result is clipped.
    sign
        1 if particles are bright, else -1.
    device
        Device of the filters.
    region
        Which voxels are known.
    name
        Name of the tomogram in error messages.
    """

    volume: NDArray[Any]
    median: float
    limit: float
    sign: int
    device: torch.device
    region: Region
    name: str

    def block(self, ranges: Ranges) -> Block:
        """Return the voxels of `ranges` (start, stop per axis z, y, x; also beyond the faces) in single precision."""
        indices = [np.arange(a, b) for a, b in ranges]
        z, y, x = (np.clip(i, 0, n - 1) for i, n in zip(indices, self.volume.shape, strict=True))
        voxels = grey_values(gather(self.volume, (z, y, x)), self.name)
        values = torch.from_numpy(voxels).to(self.device)
        release_pages(self.volume)
        values = values.sub_(self.median).mul_(self.sign).clamp_(-self.limit, self.limit)
        within = [
            torch.from_numpy(((i >= 0) & (i < n)).astype(np.float32)).to(self.device)
            for i, n in zip(indices, self.volume.shape, strict=True)
        ]
        factors = [within[0][:, None, None], within[1][None, :, None], within[2][None, None]]
        if not self.region.whole:
            known = torch.from_numpy(self.region.grid(z, y, x).astype(np.float32)).to(self.device)
            for factor in factors:
                known.mul_(factor)
            factors = [known]
        for factor in factors:
            values.mul_(factor)
        return Block(values, factors)


def find_maxima(
    source: Source, scale: Scale, examine: Callable[[Chunk], Result], chunk_voxels: int, what: str
) -> list[Result]:
    """Filter a volume in chunks and find the maxima of the response.

    Parameters
    ----------
    source, scale
        The volume and the filter.
    examine
        Function of a chunk, possibly called in several threads at a time.
    chunk_voxels
        Most voxels of the chunks processed at a time, halos and weights included; a coarse lattice of up to twice as
        many points is kept in addition. The result does not depend on it.
    what
        Description of the task in progress messages.

    Returns
    -------
    The results of `examine`, in the order of the chunks.
    """
    halo, coarse = scale.halo, scale.step > 1
    if not source.region.whole:
        chunk_voxels //= 2
    z, y, x = scale.lattice(source.volume.shape)
    lattice: Ranges = (0, z), (0, y), (0, x)
    workers = workers_on(source.device)
    total = points(lattice) * (2 if coarse else 1)
    counter = Progress(
        total, "lattice points", f"{what}: {'smoothing and searching' if coarse else 'searching'}"
    )
    results = []
    for tile in chunks(lattice, 1, halo, _TILE_POINTS * chunk_voxels) if coarse else [lattice]:
        load = _subsampled(source, scale, tile, chunk_voxels, counter) if coarse else source.block

        def search(ranges: Ranges, load: Callable[[Ranges], Block] = load) -> tuple[int, Result]:
            inner, peaks, around = _maxima(
                difference(load(expanded(ranges, halo)), (scale.narrow, scale.wide))
            )
            start = np.array([a for a, _ in ranges])
            chunk = Chunk(ranges, inner, peaks.cpu().numpy() + start, around.cpu().numpy())
            return inner.numel(), examine(chunk)

        pieces = chunks(tile, 1, halo, chunk_size_for(chunk_voxels, points(tile), workers))
        for count, result in in_parallel(search, pieces, workers):
            counter.advance(count)
            results.append(result)
    return results


def _subsampled(
    source: Source, scale: Scale, tile: Ranges, chunk_voxels: int, counter: Progress
) -> Callable[[Ranges], Block]:
    """Smooth and subsample a tile of the coarse lattice; return a function that cuts blocks from it."""
    step, kernel = scale.step, gaussian(scale.first)
    radius = len(kernel) - 1
    held = expanded(tile, scale.halo)
    values = torch.empty(extent(held), device=source.device)
    weights = (
        [torch.empty([n if a == b else 1 for b, n in enumerate(values.shape)]).to(values) for a in range(3)]
        if source.region.whole
        else [torch.empty_like(values)]
    )
    workers = workers_on(source.device)

    def place(ranges: Ranges) -> tuple[slice, ...]:
        return tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(ranges, held, strict=True))

    def part_of(factor: Tensor, ranges: Ranges) -> Tensor:
        parts = zip(place(ranges), factor.shape, strict=True)
        return factor[tuple(part if n > 1 else slice(None) for part, n in parts)]

    def smooth(ranges: Ranges) -> int:
        (z0, z1), (y0, y1), (x0, x1) = ((a * step - radius, (b - 1) * step + radius + 1) for a, b in ranges)
        block = source.block(((z0, z1), (y0, y1), (x0, x1)))
        values[place(ranges)] = filtered(block.values, kernel, step)
        for held_factor, factor in zip(weights, block.weights, strict=True):
            part_of(held_factor, ranges).copy_(filtered(factor, kernel, step))
        return points(intersection(ranges, tile))

    pieces = chunks(held, step, radius, chunk_size_for(chunk_voxels, points(held) * step**3, workers))
    for count in in_parallel(smooth, pieces, workers):
        counter.advance(count)
    return lambda ranges: Block(values[place(ranges)], [part_of(factor, ranges) for factor in weights])


def _maxima(response: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the response without its margin of `REACH`, the indices of its maxima, and the response around them.

    Maxima are positive and not lower than their six nearest neighbours. The 20 diagonal neighbours are ignored,
    because on a coarse lattice a particle beside a stronger one is often lower than the flank of that one. A point
    of a flat region, as in padding, is not a maximum, because rounding can make it positive. peak_local_max of
    scikit-image compares with the whole cube around a point, diagonal neighbours included, and has no GPU.
    """
    inner = response[(slice(REACH, -REACH),) * 3]
    highest = inner > 0
    above_one = torch.zeros_like(highest)
    for axis in range(3):
        for side in (REACH - 1, REACH + 1):
            core = [slice(REACH, -REACH)] * 3
            core[axis] = slice(side, side + inner.shape[axis])
            neighbour = response[tuple(core)]
            highest &= inner >= neighbour
            above_one |= inner > neighbour
    highest &= above_one
    windows = response
    for axis in range(3):
        windows = windows.unfold(axis, 2 * REACH + 1, 1)
    peaks = torch.nonzero(highest)
    return inner, peaks, windows[peaks.unbind(1)]
