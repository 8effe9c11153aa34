"""Search for objects of several sizes: the contrast of a ball around a position with the layer around it.

The response of a Gaussian filter is largest at the ball of its own size, but a hollow or unevenly dense particle answers
to filters of other sizes, and its wall more strongly than its centre. Here the extent is measured directly: the mean
inside a ball minus the mean in a layer around it of the same volume. Times the square root of the volume, this is the
amplitude that the ball explains, and its square the energy. It is largest where a ball holds all of an object and nothing
else, filled or hollow. In white noise it has the same variance at every diameter.

The means are computed by Fourier transforms of blocks of cells, about ten across a ball. The blocks do not depend on the
memory or the number of cores, and neither does the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from cryopipe.picking.maxima import Maxima
from cryopipe.picking.parallel import in_parallel, workers_on
from cryopipe.picking.peaks import robust_statistics
from cryopipe.picking.source import Source
from cryopipe.progress import Progress

_GAP = 0.1
_LEAST_GAP = 1.0
"""Gap between ball and layer, into which the soft edge of an object falls: fraction of the radius, and least cells."""
_ACROSS = 10
"""Least number of cells across a ball; fewer if it has fewer voxels."""
_EDGE = 0.5
"""Half width of the soft edges of balls and layers, cells."""
_BLOCK = 96
"""Edge of the blocks that are transformed, cells."""
_LEAST_KNOWN = 0.3
"""Smallest fraction of known voxels in the ball and in the layer."""
_SAMPLED = 3
"""Every third cell along each axis is sampled for the statistics."""
_CANDIDATE = 0.5
"""Fraction of the threshold, in the standard deviations of the block, above which maxima are kept until the statistics of
the whole tomogram are known."""


@dataclass(frozen=True)
class BallFilter:
    """Filter for objects of one diameter.

    Attributes
    ----------
    diameter
        Voxels.
    cell
        Edge of the cells in which voxels are averaged, voxels.
    """

    diameter: float
    cell: int

    @classmethod
    def for_diameter(cls, diameter_voxels: float) -> BallFilter:
        """Return the filter for a diameter in voxels."""
        return cls(diameter_voxels, max(1, int(diameter_voxels / _ACROSS)))

    @property
    def radii(self) -> tuple[float, float, float]:
        """Radius of the ball, and inner and outer radius of the layer of the same volume, cells."""
        radius = self.diameter / self.cell / 2
        low = radius + max(_GAP * radius, _LEAST_GAP)
        return radius, low, (low**3 + radius**3) ** (1 / 3)

    @property
    def halo(self) -> int:
        """Cells needed on every side."""
        return math.ceil(self.radii[2] + _EDGE) + 1

    def kernels(self, edge: int) -> tuple[Tensor, Tensor]:
        """Return ball and layer, (z, y, x) cubes with their centres at the first point, wrapped around."""
        axis = np.minimum(np.arange(edge), edge - np.arange(edge))
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        balls = [np.clip((r - radius) / (2 * _EDGE) + 0.5, 0, 1) for r in self.radii]
        ball, layer = (torch.from_numpy(part.astype(np.float32)) for part in (balls[0], balls[2] - balls[1]))
        return ball, layer


def find_balls(source: Source, diameter_voxels: float, threshold: float, what: str) -> Maxima:
    """Find the maxima of the amplitude of balls of one diameter.

    Parameters
    ----------
    source
        The tomogram.
    diameter_voxels
        Diameter, voxels.
    threshold
        Lowest score.
    what
        Description of the task in progress messages.

    Returns
    -------
    The maxima that reach the threshold; their heights are amplitudes: contrast of the ball with the layer around it times
    the square root of half the number of voxels in the ball.
    """
    ball = BallFilter.for_diameter(diameter_voxels)
    cells = [math.ceil(n / ball.cell) for n in source.volume.shape]
    halo = ball.halo
    step = max(_BLOCK - 2 * halo, halo)
    edge = step + 2 * halo
    kernels = [_forward(kernel.to(source.device)) for kernel in ball.kernels(edge)]
    corners = list(itertools.product(*(range(0, n, step) for n in cells)))
    counter = Progress(len(corners), "blocks", what)

    def search(
        corner: tuple[int, ...],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        values, known = _cells(source, corner, ball, edge)
        response = _amplitudes(values, known, kernels, ball)
        return _examine(response, corner, ball, source, threshold)

    results = []
    for result in in_parallel(search, corners, workers_on(source.device)):
        counter.advance()
        results.append(result)
    samples, positions, heights = (np.concatenate(parts) for parts in zip(*results, strict=True))
    median, sigma = robust_statistics(samples)
    found = Maxima(positions, heights, median, sigma)
    return found.select(found.scores >= threshold)


def _cells(source: Source, corner: tuple[int, ...], ball: BallFilter, edge: int) -> tuple[Tensor, Tensor]:
    """Return sums of the known voxels over cells, and the known fraction of each cell, of a block with halos."""
    values, known = torch.zeros((2, edge, edge, edge), device=source.device)
    cell = ball.cell
    (z0, y0, x0) = ((c - ball.halo) * cell for c in corner)
    depth = source.volume.shape[0]
    for plane in range(edge):
        z = z0 + plane * cell
        if z + cell <= 0 or z >= depth:
            continue
        block = source.block(((z, z + cell), (y0, y0 + edge * cell), (x0, x0 + edge * cell)))
        weights = block.weights[0]
        for factor in block.weights[1:]:
            weights = weights * factor
        for target, part in ((values, block.values), (known, weights)):
            target[plane] = (
                part.reshape(cell, edge, cell, edge, cell).mean(dim=(0, 2, 4)) if cell > 1 else part[0]
            )
    return values, known


def _amplitudes(values: Tensor, known: Tensor, kernels: list[Tensor], ball: BallFilter) -> Tensor:
    """Return the amplitudes in a block; 0 where too few voxels are known."""
    spectrum = _forward(values)
    size = tuple(values.shape)
    whole = [float(kernel[0, 0, 0].real) for kernel in kernels]
    scale = math.sqrt(math.pi / 12 * ball.diameter**3)
    if bool((known == 1).all()):
        kernel = kernels[0] / whole[0] - kernels[1] / whole[1]
        return _inverse(spectrum * kernel, size).mul_(scale)
    weights = _forward(known)
    fractions = [_inverse(weights * kernel, size) / sum_ for kernel, sum_ in zip(kernels, whole, strict=True)]
    means = [
        _inverse(spectrum * kernel, size) / sum_ / fraction.clamp(min=_LEAST_KNOWN)
        for kernel, sum_, fraction in zip(kernels, whole, fractions, strict=True)
    ]
    enough = torch.minimum(*fractions) >= _LEAST_KNOWN
    contrast = (means[0] - means[1]) * fractions[0].clamp(min=0).sqrt() * scale
    return torch.where(enough, contrast, 0.0)


def _forward(values: Tensor) -> Tensor:
    """Return the Fourier transform; on a processor scipy's, which gives the same bits in every thread."""
    if values.is_cuda:
        return torch.fft.rfftn(values)
    return torch.from_numpy(fft.rfftn(values.numpy()))


def _inverse(values: Tensor, size: tuple[int, ...]) -> Tensor:
    if values.is_cuda:
        return torch.fft.irfftn(values, s=size)
    return torch.from_numpy(fft.irfftn(values.numpy(), s=size, overwrite_x=True))


def _examine(
    response: Tensor, corner: tuple[int, ...], ball: BallFilter, source: Source, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return samples of the response, and positions and heights of its maxima, in the part of a block without halos."""
    halo, cell, shape = ball.halo, ball.cell, source.volume.shape
    core = [
        slice(halo, min(n - halo, halo + math.ceil(whole / cell) - c))
        for n, whole, c in zip(response.shape, shape, corner, strict=True)
    ]
    inner = response[tuple(core)]
    sampled = inner[tuple(slice(-c % _SAMPLED, None, _SAMPLED) for c in corner)]
    samples = sampled[sampled != 0].cpu().numpy().astype(np.float64)
    median, sigma = robust_statistics(samples)
    index, offsets, heights = summits(response, halo, inner.shape, median + _CANDIDATE * threshold * sigma)
    places = (index + torch.tensor(corner).to(index) + offsets + 0.5) * cell - 0.5
    positions = np.clip(places.cpu().numpy(), 0, np.array(shape) - 1.0)
    return samples, positions, heights.cpu().numpy()


def summits(response: Tensor, halo: int, size: Sequence[int], lowest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Find the points above their 26 neighbours, and the maxima of parabolas along the axes through them.

    Parameters
    ----------
    response
        (z, y, x), with a margin of `halo` points, at least 1, on the lower sides, and of at least 1 on the others.
    halo
        Points.
    size
        Points z, y, x within the margins.
    lowest
        Points of at most this height, or of at most 0, are left out.

    Returns
    -------
    Indices (n, 3) z, y, x without the margin, offsets (n, 3) of the maxima from them, and heights (n,).
    """
    inner = response[tuple(slice(halo, halo + n) for n in size)]
    index = torch.nonzero(inner > max(0.0, lowest))
    for shift in itertools.product((-1, 0, 1), repeat=3):
        if any(shift):
            beside = (index + halo + torch.tensor(shift).to(index)).unbind(1)
            index = index[inner[index.unbind(1)] > response[beside]]
    centre = inner[index.unbind(1)].double()
    offsets, heights = torch.zeros(len(index), 3, dtype=torch.float64, device=index.device), centre.clone()
    for axis in range(3):
        near = [list((index + halo).unbind(1)) for _ in range(2)]
        near[0][axis], near[1][axis] = near[0][axis] - 1, near[1][axis] + 1
        before, after = (response[tuple(part)].double() for part in near)
        curvature = 2 * centre - before - after
        offsets[:, axis] = (after - before) / (2 * curvature)
        heights += (after - before).square() / (8 * curvature)
    return index, offsets, heights
