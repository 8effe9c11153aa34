"""Locally normalised correlation of a template in all rotations with a tomogram, block by block.

Notes
-----
Roseman, Ultramicroscopy 94 (2003) 225-236. The mask is a sphere, so the local statistics are those of all rotations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from cryopipe.picking.source import Source
from cryopipe.rescan.band_filter import AXES, BandFilter, binned_block
from cryopipe.rescan.search_template import SearchTemplate

TAILS = 4
"""Voxels at a block's border that the filter does not compute correctly."""
LEAST_DEVIATION = 0.3
"""Places whose local standard deviation is below this fraction of the typical one get no score: they are flat."""
LEAST_KNOWN = 0.5
"""Smallest fraction of known voxels in the mask at a place with a score."""
BYTES_PER_VOXEL, BYTES_PER_ROTATION = 48, 16
"""Memory of a block, and of each rotation that is correlated at a time, per voxel."""
AT_ONCE = {"cpu": 2, "cuda": 8}
"""Rotations per batch."""
LARGEST_BLOCK = {"cpu": 2**24, "cuda": 2**26}
"""Voxels; larger blocks are not faster."""


@dataclass(frozen=True)
class Part:
    """A block of the search.

    Attributes
    ----------
    start, size
        First voxel of its core and the core's voxels along z, y, x, search voxels.
    shape
        Voxels that are transformed.
    margin
        Voxels before the core.
    """

    start: tuple[int, int, int]
    size: tuple[int, int, int]
    shape: tuple[int, int, int]
    margin: int


@dataclass(frozen=True)
class Scores:
    """Scores of a block's core and `border` voxels on every side.

    Attributes
    ----------
    best
        (z, y, x) largest correlation coefficient over all rotations, -1 to 1; 0 where there is no score.
    rotation
        (z, y, x) index of that rotation.
    inverted
        (z, y, x) largest correlation coefficient of the tomogram with inverted contrast.
    known
        (z, y, x) which places have a score.
    """

    best: Tensor
    rotation: Tensor
    inverted: Tensor
    known: Tensor


def divide(
    shape: Sequence[int], template: SearchTemplate, border: int, memory_gb: float, device: torch.device
) -> list[Part]:
    """Divide a volume of search voxels into blocks that fit into the memory.

    Parameters
    ----------
    shape
        (z, y, x) of the volume, search voxels.
    template
        What is searched for.
    border
        Voxels around the core of a block whose scores are also needed.
    memory_gb
        Memory for a block, gigabytes.
    device
        Device of the search.
    """
    margin = template.box_size // 2 + TAILS + border
    per_voxel = BYTES_PER_VOXEL + BYTES_PER_ROTATION * AT_ONCE[device.type]
    most = min(LARGEST_BLOCK[device.type], int(memory_gb * 1e9 / per_voxel))
    counts = [1, 1, 1]

    def padded() -> list[int]:
        cores = [math.ceil(n / c) for n, c in zip(shape, counts, strict=True)]
        return [next_fast_len(core + 2 * margin, real=axis == 2) for axis, core in enumerate(cores)]

    # cores are not divided further than to the margin's width
    while math.prod(padded()) > most:
        cores = [n / c for n, c in zip(shape, counts, strict=True)]
        axis = max(range(3), key=cores.__getitem__)
        if cores[axis] <= max(8, margin):
            break
        counts[axis] += 1
    edges = [math.ceil(n / c) for n, c in zip(shape, counts, strict=True)]
    z, y, x = padded()
    spans = [[(a, min(edge, n - a)) for a in range(0, n, edge)] for n, edge in zip(shape, edges, strict=True)]
    return [
        Part((a[0], b[0], c[0]), (a[1], b[1], c[1]), (z, y, x), margin)
        for a, b, c in itertools.product(*spans)
    ]


def correlate(
    source: Source,
    template: SearchTemplate,
    band: BandFilter,
    part: Part,
    border: int,
    matrices: Tensor,
    advance: Callable[[], None] = lambda: None,
) -> Scores:
    """Return the scores of one block.

    Parameters
    ----------
    source
        The tomogram.
    template
        What is searched for.
    band
        Filter of both.
    part
        The block.
    border
        Voxels around the core whose scores are also returned.
    matrices
        (r, 3, 3) rotations of the template.
    advance
        Called after every batch of rotations; for progress messages.
    """
    device = source.device
    start = [a - part.margin for a in part.start]
    values, known = binned_block(source, template.binning, start, part.shape)
    gain = band.gain(part.shape, device)
    filtered = torch.fft.irfftn(torch.fft.rfftn(values) * gain, s=part.shape) * known
    transform = torch.fft.rfftn(filtered)
    low = part.margin - border - template.box_size // 2
    core = [slice(low, low + n + 2 * border) for n in part.size]
    mask = template.mask(device)
    deviation, enough = _local_statistics(filtered, transform, known, mask, core, band.deviation)
    of_template = band.gain((template.box_size,) * 3, device)
    shape = deviation.shape
    best = torch.full(shape, -torch.inf, device=device)
    lowest, rotation = torch.full_like(best, torch.inf), torch.zeros(shape, dtype=torch.int32, device=device)
    for first in range(0, len(matrices), AT_ONCE[device.type]):
        some = matrices[first : first + AT_ONCE[device.type]]
        kernels = _normalised(template.rotated(some), of_template, mask)
        scores = _correlation(transform, kernels, part.shape, core)
        highest, index = scores.max(dim=0)
        better = highest > best
        rotation = torch.where(better, (index + first).to(torch.int32), rotation)
        best = torch.where(better, highest, best)
        lowest = torch.minimum(lowest, scores.amin(dim=0))
        advance()
    factor = torch.where(enough, 1 / deviation.clamp(min=1e-30), torch.zeros_like(deviation))
    return Scores(best * factor, rotation, -lowest * factor, enough)


def _normalised(maps: Tensor, gain: Tensor, mask: Tensor) -> Tensor:
    """Return filtered templates (n, z, y, x) of weighted mean 0 and weighted norm 1, times the mask."""
    filtered = torch.fft.irfftn(torch.fft.rfftn(maps, dim=AXES) * gain, s=maps.shape[-3:], dim=AXES)
    mean = (filtered * mask).sum(dim=AXES, keepdim=True) / mask.sum()
    centred = filtered - mean
    norm = (centred**2 * mask).sum(dim=AXES, keepdim=True).sqrt()
    return centred * mask / norm.clamp(min=1e-30)


def _correlation(transform: Tensor, kernels: Tensor, shape: Sequence[int], core: list[slice]) -> Tensor:
    """Return the correlation of a block with kernels (n, z, y, x) at the places of the core.

    The kernels are small and only the core is wanted, so most of the one-dimensional transforms are left out.
    """
    spectrum = torch.fft.rfft(kernels, shape[2], dim=-1)
    spectrum = torch.fft.fft(torch.fft.fft(spectrum, shape[1], dim=-2), shape[0], dim=-3)
    product = spectrum.conj_physical_().mul_(transform)
    product = torch.fft.ifft(product, dim=-3)[:, core[0]]
    product = torch.fft.ifft(product, dim=-2)[:, :, core[1]]
    return torch.fft.irfft(product, shape[2], dim=-1)[..., core[2]]


def _local_statistics(
    values: Tensor,
    transform: Tensor,
    known: Tensor,
    mask: Tensor,
    core: list[slice],
    typical_deviation: float,
) -> tuple[Tensor, Tensor]:
    """Return the weighted deviation of the values under the mask at every place of the core, and which places get scores."""
    shape, kernel = values.shape, mask[None]
    weight = mask.sum()
    sums = _correlation(transform, kernel, shape, core)[0]
    squares = _correlation(torch.fft.rfftn(values**2), kernel, shape, core)[0]
    within = _correlation(torch.fft.rfftn(known.float()), kernel, shape, core)[0] / weight
    deviation = (squares - sums**2 / weight).clamp(min=0).sqrt()
    low = [slice(part.start + mask.shape[0] // 2, part.stop + mask.shape[0] // 2) for part in core]
    here = known[low[0], low[1], low[2]] > 0
    enough = here & (within >= LEAST_KNOWN)
    typical = typical_deviation * float(weight) ** 0.5
    return deviation, enough & (deviation > LEAST_DEVIATION * typical)
