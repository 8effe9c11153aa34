"""Differences of Gaussians of volumes that do not fit into memory, and the maxima in them.

A Gaussian of several voxels leaves nothing near the Nyquist limit, so most of the work is done on a coarse
lattice of every `step`-th voxel. What is needed there are samples of the volume under a first, narrow
Gaussian, which removes what the lattice could not carry (to about 0.1 % at the frequencies that pass the
filter); wider Gaussians on the lattice then complete it, since variances of Gaussians add.

All filters are sums of shifted copies in a fixed order, one rounding at a time. A value thus depends on its
neighbourhood alone, not on how the volume was cut into chunks, and picks are the same to the last bit.

What lies beyond the faces, padded or masked is unknown: it is given the mean that the wide Gaussian finds in the
data about it, so that it makes no response and no maxima on its border. With weights w, 1 for data and 0 for the
unknown, the response to a volume v is N(wv) - W(wv) N(w) / W(w). The weights of a volume without padding and mask
are a product of three factors along its axes, and so are N(w) and W(w).
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

from cryopipe.errors import DataError
from cryopipe.files.opening import release_pages
from cryopipe.picking.filters import Block, difference, filtered, gaussian, radius_of
from cryopipe.picking.parallel import (
    Ranges,
    chunks,
    common,
    extent,
    grown,
    in_parallel,
    points,
    share,
    workers_on,
)
from cryopipe.picking.peaks import REACH
from cryopipe.progress import Progress
from cryopipe.volume.padding import Region, gather

RATIO = 1.1
"""Wider over narrower Gaussian, as in DISCA; near 1, where the difference is the Laplacian of a Gaussian."""
_COARSEST = 1.5
"""Narrowest Gaussian on a coarse lattice, in lattice steps: 1 part in 40,000 is left at its Nyquist limit."""
_FIRST = 0.7
"""The Gaussian before the lattice is thinned out, in lattice steps."""

_HELD = 2
"""Points of the coarse lattice that are held at a time over voxels of the chunks; a larger lattice is gone through tile
by tile, overlapping by halos."""
Result = TypeVar("Result")


def sigmas_for(diameter: float) -> tuple[float, float]:
    """Return the standard deviations of the two Gaussians that answer best to a ball of `diameter`, same unit.

    The scale-normalised Laplacian of a Gaussian at the centre of a ball of radius r goes as
    (r/s)^3 exp(-r^2 / 2 s^2), which is largest at s = r / sqrt(3). The pair lies about that s, at a ratio of 1.1.
    """
    best = diameter / (2 * math.sqrt(3))
    return best / math.sqrt(RATIO), best * math.sqrt(RATIO)


@dataclass(frozen=True)
class Scale:
    """The filter for one diameter on one tomogram.

    Attributes
    ----------
    step
        Lattice constant, voxels.
    first
        Standard deviation of the Gaussian before thinning out, voxels; 0 if the lattice is the volume's own.
    narrow, wide
        Standard deviations that remain to be applied on the lattice, lattice steps.
    """

    step: int
    first: float
    narrow: float
    wide: float

    @classmethod
    def for_diameter(cls, diameter_voxels: float) -> Scale:
        """Return the coarsest lattice that carries the filter for a diameter in voxels."""
        narrow, wide = sigmas_for(diameter_voxels)
        step = max(1, int(narrow / _COARSEST))
        first = _FIRST * step if step > 1 else 0.0
        return cls(step, first, *(math.sqrt(s**2 - first**2) / step for s in (narrow, wide)))

    @property
    def halo(self) -> int:
        """Lattice points that the filter and the search for maxima need on every side."""
        return radius_of(self.wide) + REACH

    def lattice(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Number of lattice points along every axis: all inside the volume and the first one past its end."""
        return tuple((n - 1) // self.step + 2 for n in shape)


@dataclass(frozen=True)
class Chunk:
    """A part of the response and the maxima in it: positive points no lower than their six nearest neighbours.

    Attributes
    ----------
    ranges
        Lattice points, start and stop along z, y, x.
    response
        The response at them.
    peaks
        Lattice indices z, y, x of the maxima, (n, 3).
    around
        The response about each maximum, (n, 7, 7, 7).
    """

    ranges: Ranges
    response: Tensor
    peaks: NDArray[np.int64]
    around: NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """A volume as the filters see it: centred, clipped, with bright particles, 0 where it is unknown.

    Attributes
    ----------
    volume
        (z, y, x), of any number type; usually a memory map.
    median
        The value that becomes 0.
    limit
        Largest magnitude after that.
    sign
        1 if particles are bright, else -1.
    device
        Where blocks are computed.
    region
        Which voxels hold data.
    name
        The tomogram's name, for error messages.
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
        values = torch.from_numpy(gather(self.volume, (z, y, x)).astype(np.float32)).to(self.device)
        release_pages(self.volume)
        if self.volume.dtype.kind == "f" and not bool(torch.isfinite(values).all()):
            raise DataError(
                "holds NaN or infinite values",
                file=self.name,
                remedy="run `cryopipe check`, then repair or remove it",
            )
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
    """Filter a volume chunk by chunk and find the maxima of the response.

    Parameters
    ----------
    source, scale
        The volume and the filter.
    examine
        Called with every chunk, possibly with several at a time; what it returns is handed on.
    chunk_voxels
        Most voxels that the chunks under way may hold with their halos, weights included; a coarse lattice is held
        besides, up to twice as many points. It has no influence on the result.
    what
        What is being done, for progress messages.

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
    for tile in chunks(lattice, 1, halo, _HELD * chunk_voxels) if coarse else [lattice]:
        load = _thinned(source, scale, tile, chunk_voxels, counter) if coarse else source.block

        def search(ranges: Ranges, load: Callable[[Ranges], Block] = load) -> tuple[int, Result]:
            inner, peaks, around = _maxima(difference(load(grown(ranges, halo)), (scale.narrow, scale.wide)))
            start = np.array([a for a, _ in ranges])
            chunk = Chunk(ranges, inner, peaks.cpu().numpy() + start, around.cpu().numpy())
            return inner.numel(), examine(chunk)

        pieces = chunks(tile, 1, halo, share(chunk_voxels, points(tile), workers))
        for count, result in in_parallel(search, pieces, workers):
            counter.advance(count)
            results.append(result)
    return results


def _thinned(
    source: Source, scale: Scale, tile: Ranges, chunk_voxels: int, counter: Progress
) -> Callable[[Ranges], Block]:
    """Return a function that gives blocks of the smoothed volume on a tile of the coarse lattice, which it holds."""
    step, kernel = scale.step, gaussian(scale.first)
    radius = len(kernel) - 1
    held = grown(tile, scale.halo)
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
        return points(common(ranges, tile))

    pieces = chunks(held, step, radius, share(chunk_voxels, points(held) * step**3, workers))
    for count in in_parallel(smooth, pieces, workers):
        counter.advance(count)
    return lambda ranges: Block(values[place(ranges)], [part_of(factor, ranges) for factor in weights])


def _maxima(response: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the response without its margin of `REACH`, the indices of the maxima there, and their surroundings.

    Points count that are positive and no less than their six nearest neighbours. The 20 others are not asked:
    seen on a coarse lattice, a particle beside a stronger one is often lower than the stronger one's flank. Of a
    plain, as padding leaves it, where rounding may be positive, no point counts.
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
