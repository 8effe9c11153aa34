"""Filter of the search: missing wedge, band, and division of every shell by the tomogram's own amplitude."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.picking.source import Source
from cryopipe.volume.fourier import fourier_rescale, frequency_vectors
from cryopipe.volume.wedge import measured

BLOCK = 64
"""Edge of the blocks in which the amplitudes are measured, search voxels."""
BLOCKS = 12
"""Number of these blocks."""
LEAST_KNOWN = 0.5
"""Smallest fraction of known voxels in them."""
EDGE = 14.0
"""Steepness of the band's end; the gain falls from 0.97 to 0.03 within a quarter of the limit on either side."""
LEAST_AMPLITUDE = 0.02
"""Smallest amplitude of a shell relative to the largest; weaker shells were filtered out of the tomogram."""
AXES = (-3, -2, -1)


@dataclass(frozen=True)
class BandFilter:
    """Filter of tomogram and templates.

    Attributes
    ----------
    tilt_range
        See `cryopipe.volume.wedge.measured`.
    limit
        End of the band, cycles per search voxel.
    frequencies, amplitudes
        (k,) cycles per search voxel and the tomogram's mean amplitude there, inside the wedge.
    deviation
        Standard deviation of the filtered tomogram.
    """

    tilt_range: Sequence[float]
    limit: float
    frequencies: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    deviation: float

    def gain(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return the gain of the coefficients of the real transform of a volume: (z, y, x // 2 + 1)."""
        half = frequency_vectors(shape, device)[..., : shape[-1] // 2 + 1, :]
        radius = half.norm(dim=-1)
        amplitude = np.interp(radius.cpu().numpy(), self.frequencies, self.amplitudes)
        gain = (
            measured(half, self.tilt_range)
            * _band(radius, self.limit)
            / torch.from_numpy(amplitude).to(radius)
        )
        gain[0, 0, 0] = 0
        return gain


def make_filter(
    source: Source, binning: int, limit: float, tilt_range: Sequence[float], seed: int = 0
) -> BandFilter:
    """Measure a tomogram's amplitudes and return the filter.

    Parameters
    ----------
    source
        The tomogram.
    binning
        Its voxels along the edge of a search voxel.
    limit
        End of the band, cycles per search voxel.
    tilt_range
        See `cryopipe.volume.wedge.measured`.
    seed
        Seed of the places.
    """
    shape = [max(1, n // binning) for n in source.volume.shape]
    size = [min(n - n % 2 or 1, BLOCK) for n in shape]
    rng = np.random.default_rng(seed)
    windows = [torch.hann_window(n, periodic=False, dtype=torch.float32) + 1e-3 for n in size]
    window = (windows[0][:, None, None] * windows[1][:, None] * windows[2]).to(source.device)
    vectors = frequency_vectors(size, source.device)
    wedge, radius = measured(vectors, tilt_range), vectors.norm(dim=-1)
    bins = max(size)
    shell = (radius * bins).round().long()
    power = torch.zeros(int(shell.max()) + 1, dtype=torch.float64, device=source.device)
    used = 0
    for attempt in range(4 * BLOCKS):
        start = [int(rng.integers(0, n - m + 1)) for n, m in zip(shape, size, strict=True)]
        values, known = binned_block(source, binning, start, size)
        if float(known.mean()) < LEAST_KNOWN and not (attempt == 4 * BLOCKS - 1 and not used):
            continue
        values = (values - (values * known).sum() / known.sum().clamp(min=1)) * known * window
        transform = torch.fft.fftn(values).abs().double() ** 2 * wedge
        power += torch.bincount(shell.flatten(), transform.flatten(), len(power))
        used += 1
        if used == BLOCKS:
            break
    counts = torch.bincount(shell.flatten(), wedge.flatten().double(), len(power))
    amplitude = (power / counts.clamp(min=1)).sqrt().cpu().numpy() / math.sqrt(max(1, used))
    amplitude[0] = amplitude[1:2].max(initial=0.0)
    amplitude = np.maximum(amplitude, LEAST_AMPLITUDE * amplitude.max(initial=0.0) + 1e-30)
    passed = float((wedge * _band(radius, limit) ** 2).mean() / (window**2).sum())
    return BandFilter(
        tuple(tilt_range), limit, np.arange(len(amplitude)) / bins, amplitude, math.sqrt(passed)
    )


def _band(radius: Tensor, limit: float) -> Tensor:
    return torch.special.expit((1 - radius / limit) * EDGE)


def binned_block(
    source: Source, binning: int, start: Sequence[int], size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return a block of a tomogram at the voxel size of the search, and which of its voxels are known.

    Parameters
    ----------
    source
        The tomogram.
    binning
        Its voxels along the edge of a search voxel; search voxel i is centred at voxel i * `binning`.
    start, size
        First search voxel and number of search voxels along z, y, x; the block may extend beyond the faces.

    Returns
    -------
    (z, y, x) values, and (z, y, x) 1 where known, else 0.
    """
    first = [(a + m // 2) * binning - (m * binning) // 2 for a, m in zip(start, size, strict=True)]
    spans = [(a, a + m * binning) for a, m in zip(first, size, strict=True)]
    block = source.block((spans[0], spans[1], spans[2]))
    known = block.weights[0]
    for factor in block.weights[1:]:
        known = known * factor
    offsets = [a * binning - b for a, b in zip(start, first, strict=True)]
    places = tuple(slice(o, o + (m - 1) * binning + 1, binning) for o, m in zip(offsets, size, strict=True))
    known = known.expand(block.values.shape)[places]
    if binning == 1:
        return block.values, known
    return fourier_rescale(block.values, 1.0, float(binning), tuple(size)), known
