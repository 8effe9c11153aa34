"""Template-free picking of blobs of one or several diameters, scored in robust standard deviations."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.errors import DataError
from cryopipe.files.opening import release_pages
from cryopipe.picking.blobs import RATIO, Chunk, Scale, Source, find_maxima
from cryopipe.picking.options import PickOptions
from cryopipe.picking.peaks import refine, robust_statistics, upper_deviation
from cryopipe.volume.padding import Region, find_padding
from cryopipe.volume.statistics import grey_values, single_precision
from cryopipe.volume.suppression import suppress

logger = logging.getLogger(__name__)

_SAMPLES = 1_000_000
"""Number of voxels or lattice points sampled for medians."""
_NOISE_PEAK = 4.0
"""Score that about one in a few thousand maxima of noise reaches."""
_SMALLEST_SIGMA = 1.0
"""Voxels; the narrowest Gaussian that can be sampled."""


@dataclass(frozen=True)
class Picks:
    """Picked particles, best first.

    Attributes
    ----------
    coordinates
        (n, 3) centres x, y, z in 0-based voxels of the tomogram.
    scores
        (n,) height of the response, in robust standard deviations of the tomogram's response.
    diameters
        (n,) diameter of the filter that found the particle, angstrom.
    """

    coordinates: NDArray[np.float64]
    scores: NDArray[np.float64]
    diameters: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def none(cls) -> Picks:
        """Return an empty set of picks."""
        return cls(np.zeros((0, 3)), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class _Candidates:
    """Maxima of the response to one filter: positions z, y, x in voxels (n, 3), strengths and scores (n,)."""

    positions: NDArray[np.float64]
    strengths: NDArray[np.float64]
    scores: NDArray[np.float64]

    def select(self, chosen: NDArray[np.bool_]) -> _Candidates:
        """Return the chosen candidates."""
        return _Candidates(self.positions[chosen], self.strengths[chosen], self.scores[chosen])


def pick_particles(
    volume: NDArray[Any],
    voxel_size: float,
    options: PickOptions,
    contrast: str,
    mask: NDArray[Any] | None = None,
    *,
    device: torch.device | str = "cpu",
    chunk_voxels: int = 2**24,
    name: str = "a tomogram",
) -> Picks:
    """Pick particles without a template.

    Padding and voxels outside the mask are ignored by the filters and by all statistics.

    Parameters
    ----------
    volume
        Tomogram (z, y, x) of any number type; a memory map is read in chunks.
    voxel_size
        Angstrom.
    options
        Diameters, threshold and limits.
    contrast
        "dark" if particles are darker than their surroundings, else "bright".
    mask
        (z, y, x), same shape as the volume; only voxels above 0 are searched. It should contain whole particles.
    device
        Device of the filters.
    chunk_voxels
        Most voxels that are filtered at a time; the result does not depend on it.
    name
        The tomogram's name or file, for messages.

    Returns
    -------
    The picks, best first; an empty set if no maximum is above the threshold.

    Raises
    ------
    DataError
        If a diameter is too small for the voxel size or too large for the tomogram, if the mask has another
        shape, or if the tomogram contains NaN, infinite values or values above 1e12.
    """
    _check_diameters(options.diameters, voxel_size, volume.shape, name)
    _check_mask(mask, volume.shape, name)
    region = _region_of(volume, mask, name)
    voxels = _sample_voxels(volume, region, name)
    median, sigma = robust_statistics(voxels)
    if sigma == 0:
        logger.warning(
            "%s: no picks, because the tomogram is constant%s",
            name,
            "" if mask is None else " or masked out",
        )
        return Picks.none()
    limit = math.inf if options.clip is None else options.clip * upper_deviation(voxels, median)
    sign = 1 if contrast == "bright" else -1
    source = Source(volume, median, limit, sign, torch.device(device), region, name)
    found = []
    for diameter in options.diameters:
        what = f"picking {diameter:g} A in {name}"
        candidates = _candidates(source, diameter / voxel_size, chunk_voxels, what)
        allowed = candidates.select(_allowed(candidates, options, voxel_size, region))
        logger.info("%s: %d maxima above %g sigma", what, len(allowed.scores), options.threshold)
        found.append(allowed)
    return _best(found, options, voxel_size)


def _region_of(volume: NDArray[Any], mask: NDArray[Any] | None, name: str) -> Region:
    padding = find_padding(volume)
    if padding is not None:
        values = ", ".join(f"{value:g}" for value in padding.values)
        logger.info("%s: %.1f %% of the voxels are padding (%s)", name, 100 * padding.fraction, values)
    return Region(volume.shape, padding, mask)


def _best(found: Sequence[_Candidates], options: PickOptions, voxel_size: float) -> Picks:
    """Merge the candidates of all diameters and keep one per particle, best first."""
    counts = [len(candidates.scores) for candidates in found]
    diameters = np.repeat(np.array(options.diameters, dtype=float), counts)
    positions, strengths, scores = (
        np.concatenate([getattr(candidates, name) for candidates in found])
        for name in ("positions", "strengths", "scores")
    )
    shortest = (
        diameters / 2
        if options.minimum_distance is None
        else np.full(len(diameters), options.minimum_distance)
    )
    kept = suppress(positions, strengths, shortest / voxel_size)
    kept = kept[np.argsort(-scores[kept], kind="stable")][: options.max_particles]
    return Picks(positions[kept][:, ::-1].copy(), scores[kept], diameters[kept])


def _check_mask(mask: NDArray[Any] | None, shape: tuple[int, ...], name: str) -> None:
    if mask is not None and mask.shape != shape:
        raise DataError(
            f"the mask has shape {mask.shape} (z, y, x), but the tomogram has {shape}",
            file=name,
            remedy="use a mask with the tomogram's dimensions",
        )


def _check_diameters(
    diameters: Sequence[float], voxel_size: float, shape: tuple[int, ...], name: str
) -> None:
    smallest = 2 * math.sqrt(3 * RATIO) * _SMALLEST_SIGMA * voxel_size
    largest = min(shape) * voxel_size
    for diameter in diameters:
        if diameter < smallest:
            raise DataError(
                f"pick.diameters contains {diameter:g} A, which is only {diameter / voxel_size:.2g} voxels of "
                f"{voxel_size:g} A",
                file=name,
                remedy=f"set at least {math.ceil(smallest)} A for this voxel size",
            )
        if diameter > largest:
            raise DataError(
                f"pick.diameters contains {diameter:g} A, but the tomogram's shortest edge is {largest:.0f} A",
                file=name,
                remedy="set a smaller diameter, or correct the voxel size",
            )


def _sample_voxels(volume: NDArray[Any], region: Region, name: str) -> NDArray[np.float32]:
    """Return the known voxels of about a million, in whole rows at regular steps in z and y."""
    stride = max(1, math.ceil(math.sqrt(volume.size / _SAMPLES)))
    voxels = single_precision(volume[::stride, ::stride])
    release_pages(volume)
    depth, height, width = volume.shape
    known = region.grid(np.arange(0, depth, stride), np.arange(0, height, stride), np.arange(width))
    return grey_values(voxels[known], name)


def _candidates(
    source: Source,
    diameter_voxels: float,
    chunk_voxels: int,
    what: str,
) -> _Candidates:
    """Filter for one diameter and return all maxima with their scores."""
    scale = Scale.for_diameter(diameter_voxels)
    lattice = scale.lattice(source.volume.shape)
    stride = math.ceil((math.prod(lattice) / _SAMPLES) ** (1 / 3))
    edge = np.array(source.volume.shape)

    def examine(chunk: Chunk) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        top, offset, height = refine(chunk.around)
        place = (chunk.peaks + offset) * scale.step
        # The maximum of a particle cut by a face can be at the face, half a voxel beyond the last voxel's centre.
        near = top & ((place > -1) & (place < edge)).all(axis=1)
        samples = _sample_response(chunk, stride, scale.step, source.volume, source.region)
        return samples, np.clip(place[near], 0, edge - 1.0), height[near]

    found = find_maxima(source, scale, examine, chunk_voxels, what)
    samples, positions, heights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    median, sigma = robust_statistics(samples)
    scores = (heights - median) / sigma if sigma > 0 else np.zeros_like(heights)
    # Responses, unlike scores, are comparable between diameters: with a constant ratio of the Gaussians their
    # difference is scale-normalised, and the best-fitting diameter gives the highest response. Since the response to
    # noise grows with decreasing diameter, the strength is the height above the highest noise peaks.
    return _Candidates(positions, (scores - _NOISE_PEAK) * sigma, scores)


def _sample_response(
    chunk: Chunk,
    stride: int,
    step: int,
    volume: NDArray[Any],
    region: Region,
) -> NDArray[np.float64]:
    """Return the response at known lattice points whose indices are multiples of `stride`.

    Voxels equal to their neighbours along all three axes are excluded: they were erased inside the tomogram.
    """
    starts = [-a % stride for a, _ in chunk.ranges]
    sampled = (
        chunk.response[tuple(slice(start, None, stride) for start in starts)].cpu().numpy().astype(np.float64)
    )
    places = [
        (a + start + stride * np.arange(count)) * step
        for (a, _), start, count in zip(chunk.ranges, starts, sampled.shape, strict=True)
    ]
    # The last lattice points are beyond the end of the volume.
    z, y, x = places = [place[place < n] for place, n in zip(places, volume.shape, strict=True)]
    sampled = sampled[tuple(slice(len(place)) for place in places)]
    if not sampled.size:
        return np.zeros(0)
    # Plane by plane, releasing the pages: reading a page of a memory map also loads neighbouring pages.
    wanted = np.zeros(sampled.shape, dtype=bool)
    for number, plane in enumerate(z):
        values = volume[plane][np.ix_(y, x)]
        wanted[number] = volume[_beside(plane)][np.ix_(y, x)] != values
        wanted[number] |= volume[plane][np.ix_(_beside(y), x)] != values
        wanted[number] |= volume[plane][np.ix_(y, _beside(x))] != values
        release_pages(volume)
        wanted[number] &= region.grid(np.array([plane]), y, x)[0]
    return sampled[wanted]


def _beside(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of a neighbour of each voxel: the previous one, or for the first voxel the next one."""
    return np.where(index > 0, index - 1, 1)


def _allowed(
    candidates: _Candidates, options: PickOptions, voxel_size: float, region: Region
) -> NDArray[np.bool_]:
    """Return whether each candidate is at a known voxel, inside the border, and above the threshold."""
    positions = candidates.positions
    edge = np.array(region.shape)
    margin = options.border / voxel_size
    kept = candidates.scores >= options.threshold
    kept &= ((positions >= margin - 0.5) & (positions <= edge - 0.5 - margin)).all(axis=1)
    kept[kept] = region.holds(np.rint(positions[kept]).astype(np.int64))
    return kept
