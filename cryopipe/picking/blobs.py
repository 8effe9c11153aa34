"""Difference-of-Gaussians filtering of volumes larger than memory, and detection of the maxima.

The narrow Gaussian is computed at every `step`-th voxel only, a lattice fine enough for what passes it. A second
Gaussian on this lattice widens it to the wide one, and the difference of the two is the response. Since the variances of
two Gaussians in succession add up, this is cheap: the second one reaches a few lattice points.

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
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.picking.filters import Block, difference, discrete_gaussian, filtered, gaussian, radius_of
from cryopipe.picking.maxima import Maxima
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
from cryopipe.picking.peaks import REACH, find_peaks, refine, robust_statistics
from cryopipe.picking.sampling import sample_response
from cryopipe.picking.source import Source
from cryopipe.progress import Progress

RATIO = 1.1
"""Ratio of the wide to the narrow Gaussian, as in DISCA; close to 1 it approximates the Laplacian of a Gaussian."""
_COARSEST = 1.3
"""Lattice steps; narrowest Gaussian on a coarse lattice, with a gain of 1/4,000 at the Nyquist limit."""
_COARSEST_OF_TWO = 1.1
"""The same for the first coarse lattice, of every second voxel, with a gain of 1/400: small particles take longest."""
_TILE_POINTS = 4
"""Most points of the lattice in memory, in units of `chunk_voxels`; a larger lattice is processed in tiles that overlap
by halos, each of them twice: first for the statistics, then for the maxima."""
_SAMPLES = 1_000_000
"""Number of lattice points sampled for the statistics of the response."""


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
    narrow
        Standard deviation of the narrow Gaussian, voxels.
    extra
        Standard deviation of the Gaussian that widens it to the wide one, lattice steps.
    """

    step: int
    narrow: float
    extra: float

    @classmethod
    def for_diameter(cls, diameter_voxels: float) -> Scale:
        """Return the filter for a diameter in voxels, on the coarsest possible lattice."""
        narrow, wide = sigmas_for(diameter_voxels)
        step = max(1, min(2, int(narrow / _COARSEST_OF_TWO)), int(narrow / _COARSEST))
        return cls(step, narrow, math.sqrt(wide**2 - narrow**2) / step)

    @property
    def halo(self) -> int:
        """Lattice points needed on every side by the second filter and the search for maxima."""
        return radius_of(self.extra) + REACH

    def lattice(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of lattice points along every axis: those in the volume and the first beyond its end."""
        return tuple((n - 1) // self.step + 2 for n in shape)


def find_maxima(source: Source, scale: Scale, threshold: float, chunk_voxels: int, what: str) -> Maxima:
    """Filter a volume and find the maxima of the response.

    Parameters
    ----------
    source, scale
        The volume and the filter.
    threshold
        Lowest score; only maxima that can reach it are refined.
    chunk_voxels
        Most voxels of the chunks processed at a time, halos and weights included; a lattice of up to four times as
        many points is kept in addition. The result does not depend on it.
    what
        Description of the task in progress messages.

    Returns
    -------
    The maxima that reach the threshold.
    """
    if not source.region.whole:
        chunk_voxels //= 2
    z, y, x = scale.lattice(source.volume.shape)
    lattice: Ranges = (0, z), (0, y), (0, x)
    stride = math.ceil((points(lattice) / _SAMPLES) ** (1 / 3))
    tiles = chunks(lattice, 1, scale.halo, _TILE_POINTS * chunk_voxels)
    counter = Progress(points(lattice) * (2 if len(tiles) == 1 else 3), "lattice points", what)
    samples = []
    for tile in tiles:
        smoothed = _Smoothed(source, scale, tile, chunk_voxels, counter)
        samples.append(
            sample_response(smoothed.block(expanded(tile, scale.halo)), tile, scale, stride, source)
        )
    median, sigma = robust_statistics(np.concatenate(samples))
    found = []
    for tile in tiles:
        if len(tiles) > 1:
            smoothed = _Smoothed(source, scale, tile, chunk_voxels, counter)
        found += smoothed.maxima(median + threshold * sigma)
    positions, heights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Maxima(positions, heights, median, sigma)


class _Smoothed:
    """A tile of the lattice after the narrow Gaussian."""

    def __init__(
        self, source: Source, scale: Scale, tile: Ranges, chunk_voxels: int, counter: Progress
    ) -> None:
        self.source, self.scale, self.tile, self.chunk_voxels, self.counter = (
            source, scale, tile, chunk_voxels, counter,
        )  # fmt: skip
        self.held = expanded(tile, scale.halo)
        self.workers = workers_on(source.device)
        self.values = torch.empty(extent(self.held), device=source.device)
        self.weights = (
            [
                torch.empty([n if a == b else 1 for b, n in enumerate(self.values.shape)]).to(self.values)
                for a in range(3)
            ]
            if source.region.whole
            else [torch.empty_like(self.values)]
        )
        self._smooth()

    def _smooth(self) -> None:
        step, kernel = self.scale.step, gaussian(self.scale.narrow)
        radius = len(kernel) - 1

        def smooth(ranges: Ranges) -> int:
            (z0, z1), (y0, y1), (x0, x1) = (
                (a * step - radius, (b - 1) * step + radius + 1) for a, b in ranges
            )
            block = self.source.block(((z0, z1), (y0, y1), (x0, x1)))
            self.values[self._place(ranges)] = filtered(block.values, kernel, step)
            for held, factor in zip(self.weights, block.weights, strict=True):
                self._part(held, ranges).copy_(filtered(factor, kernel, step))
            return points(intersection(ranges, self.tile))

        size = chunk_size_for(self.chunk_voxels, points(self.held) * step**3, self.workers)
        for count in in_parallel(smooth, chunks(self.held, step, radius, size), self.workers):
            self.counter.advance(count)

    def _place(self, ranges: Ranges) -> tuple[slice, ...]:
        return tuple(
            slice(a - first, b - first) for (a, b), (first, _) in zip(ranges, self.held, strict=True)
        )

    def _part(self, factor: Tensor, ranges: Ranges) -> Tensor:
        parts = zip(self._place(ranges), factor.shape, strict=True)
        return factor[tuple(part if n > 1 else slice(None) for part, n in parts)]

    def block(self, ranges: Ranges) -> Block:
        """Return smoothed values and weights at lattice points."""
        return Block(
            self.values[self._place(ranges)], [self._part(factor, ranges) for factor in self.weights]
        )

    def maxima(self, lowest: float) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return positions and heights of the maxima of at least a height, for every chunk."""
        kernel, edge = discrete_gaussian(self.scale.extra), np.array(self.source.volume.shape)

        def search(ranges: Ranges) -> tuple[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
            response = difference(self.block(expanded(ranges, self.scale.halo)), kernel)
            peaks, around = find_peaks(response, lowest)
            top, offset, height = refine(around.cpu().numpy())
            place = (peaks.cpu().numpy() + np.array([a for a, _ in ranges]) + offset) * self.scale.step
            # The maximum of a particle cut by a face can be at the face, half a voxel beyond the last voxel's centre.
            near = top & (height >= lowest) & ((place > -1) & (place < edge)).all(axis=1)
            return points(ranges), (np.clip(place[near], 0, edge - 1.0), height[near])

        size = chunk_size_for(self.chunk_voxels, points(self.tile), self.workers)
        found = []
        for count, result in in_parallel(search, chunks(self.tile, 1, self.scale.halo, size), self.workers):
            self.counter.advance(count)
            found.append(result)
        return found
