"""Template matching in whole tomograms: local correlation coefficient at every voxel, the best of all rotations.

The rotated template, limited to the measured region of Fourier space, is correlated with overlapping blocks of the volume
by Fourier transforms. Scores are normalised by the local standard deviation of the volume under the template's mask, so
that gold beads, membranes and borders of the specimen do not score highly because they are strong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.progress import Progress
from cryopipe.volume.fourier import low_pass
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.wedge import measured
from cryopipe.volume.windows import overlap_windows

BLOCK = 128
"""Largest edge of the blocks, voxels, unless the template needs larger ones."""
BATCH_BYTES = 256 * 2**20
"""Memory of the templates that are correlated at a time."""
_FLAT = 0.02
"""Local standard deviation below which a region counts as empty, as a fraction of the block's."""


@dataclass(frozen=True)
class ScoreMap:
    """Result of template matching in a volume.

    Attributes
    ----------
    scores
        (z, y, x) float32: largest correlation coefficient over all rotations, -1 to 1; the template's centre is at
        the voxel.
    rotations
        (z, y, x) int32: index of its rotation.
    """

    scores: NDArray[np.float32]
    rotations: NDArray[np.int32]


@dataclass(frozen=True)
class _Template:
    """A template prepared for a tilt range: transform of its map, coefficients measured, mask."""

    band: Band
    grid: Tensor
    wedge: Tensor
    mask: Tensor

    def rotated(self, matrices: Tensor) -> Tensor:
        """Return (n, z, y, x) rotated templates, wedge applied, weighted by the mask, of mean 0 and norm 1 in it."""
        volumes = self.band.volumes(self.band.project(self.grid, matrices) * self.wedge)
        weight = self.mask.sum()
        mean = (volumes * self.mask).sum(dim=(1, 2, 3), keepdim=True) / weight
        centred = volumes - mean
        norm = (centred.square() * self.mask).sum(dim=(1, 2, 3), keepdim=True).sqrt()
        return centred * self.mask / norm.clamp(min=1e-12)


def match_volume(
    volume: NDArray[np.floating],
    template: Tensor,
    matrices: Tensor,
    tilt_range: Sequence[float],
    voxel_size: float,
    resolution: float,
    mask_radius: float | None = None,
) -> ScoreMap:
    """Return the best score and rotation of a template at every voxel of a volume.

    Parameters
    ----------
    volume
        (z, y, x), particles bright; an array or memory map, of which one block at a time is read.
    template
        (z, y, x) cube, bright, at the same voxel size, centred at n // 2, on the device of the computation.
    matrices
        (R, 3, 3) rotations, template to particle.
    tilt_range
        Lowest and highest tilt of the volume, degrees; see `cryopipe.volume.wedge.measured`.
    voxel_size
        Angstrom.
    resolution
        Finest resolution of the comparison, angstrom.
    mask_radius
        Radius of the spherical mask, angstrom; by default half the template's edge without its soft edge.

    Returns
    -------
    Scores and rotations. Outside the volume, the mean of the block is assumed. Regions without contrast score 0.
    """
    prepared = _prepare(template, tilt_range, voxel_size, resolution, mask_radius)
    n, margin = prepared.band.box_size, math.ceil(resolution / voxel_size)
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    steps = [_step(length, n) for length in shape]
    edges = [next_fast_len(step + n - 1, real=True) for step in steps]
    scores, rotations = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    corners = list(itertools.product(*(range(0, a, step) for a, step in zip(shape, steps, strict=True))))
    progress = Progress(len(corners), "blocks", "matching a template")
    for corner in corners:
        low = np.array(corner) - n // 2 - margin
        block = torch.from_numpy(_read_block(volume, low, [edge + 2 * margin for edge in edges]))
        if float(block.std()) > 0:
            smooth = low_pass(block.to(template.device), resolution, voxel_size)
            # The filter is periodic; the margin keeps its error out of the block.
            inner = tuple(slice(margin, margin + edge) for edge in edges)
            found = _match_block(smooth[inner].contiguous(), prepared, matrices)
            ends = [min(a + step, b) for a, step, b in zip(corner, steps, shape, strict=True)]
            inside = tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))
            own = tuple(slice(0, b - a) for a, b in zip(corner, ends, strict=True))
            scores[inside], rotations[inside] = (part[own].cpu().numpy() for part in found)
        progress.advance()
    return ScoreMap(scores, rotations)


def _step(length: int, template_edge: int) -> int:
    """Return the number of scored voxels of a block along one axis of the volume."""
    largest = max(BLOCK, 2 * template_edge) - template_edge + 1
    return math.ceil(length / math.ceil(length / largest))


def _prepare(
    template: Tensor, tilt_range: Sequence[float], voxel_size: float, resolution: float,
    mask_radius: float | None,
) -> _Template:  # fmt: skip
    n = template.shape[-1]
    band = Band(n, round(n * voxel_size / max(resolution, 2 * voxel_size)), template.device)
    soft = max(2.0, n / 10)
    radius = n / 2 - soft if mask_radius is None else min(mask_radius / voxel_size, n / 2 - soft)
    mask = sphere_mask(n, radius, soft, template.device)
    return _Template(band, band.reference_grid(template), measured(band.frequencies, tilt_range), mask)


def _read_block(
    volume: NDArray[np.floating], low: NDArray[np.int64], shape: Sequence[int]
) -> NDArray[np.float32]:
    """Return the block of `shape` that starts at `low` (both z, y, x), of mean 0, 0 outside the volume."""
    block = np.zeros(tuple(shape), np.float32)
    source, target = overlap_windows(low, shape, volume.shape)
    values = np.asarray(volume[source], np.float32)
    block[target] = values - values.mean(dtype=np.float64).astype(np.float32)
    return block


def _match_block(block: Tensor, template: _Template, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best score and rotation at the voxels whose template lies inside the block."""
    edges = block.shape
    valid = [edge - template.band.box_size + 1 for edge in edges]
    values = torch.fft.rfftn(block)
    # Sums over the mask: of the values and of their squares.
    mask = _transform(template.mask[None], edges)
    sums = _correlate(values, mask, edges, valid)[0]
    squares = _correlate(torch.fft.rfftn(block.square()), mask, edges, valid)[0]
    variance = squares - sums.square() / template.mask.sum()
    least = (_FLAT * block.std()) ** 2 * template.mask.sum()
    scale = torch.where(variance > least, variance.clamp(min=least).rsqrt(), 0.0)
    best = torch.full(tuple(valid), -torch.inf, device=block.device)
    rotation = torch.zeros(tuple(valid), dtype=torch.int32, device=block.device)
    size = max(1, BATCH_BYTES // (16 * block.numel()))
    for first in range(0, len(matrices), size):
        rotated = template.rotated(matrices[first : first + size])
        value, at = _correlate(values, _transform(rotated, edges), edges, valid).max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        rotation = torch.where(better, (at + first).int(), rotation)
    return best * scale, rotation


def _transform(templates: Tensor, edges: Sequence[int]) -> Tensor:
    """Return the transforms of templates (n, z, y, x), padded to blocks of `edges` (z, y, x)."""
    padding = [(0, edge - templates.shape[-1]) for edge in reversed(edges)]
    return torch.fft.rfftn(F.pad(templates, tuple(itertools.chain(*padding))), dim=(-3, -2, -1))


def _correlate(values: Tensor, templates: Tensor, edges: Sequence[int], valid: Sequence[int]) -> Tensor:
    """Return the correlations (n, z, y, x) of a block and templates, both given by their transforms."""
    found = torch.fft.irfftn(values * templates.conj(), s=tuple(edges), dim=(-3, -2, -1))
    return found[:, : valid[0], : valid[1], : valid[2]]
