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
from cryopipe.picking.blobs import RATIO
from cryopipe.picking.candidates import Search
from cryopipe.picking.false_picks import LOWEST, threshold_for
from cryopipe.picking.options import PickOptions
from cryopipe.picking.peaks import robust_statistics, upper_deviation
from cryopipe.picking.sampling import sample_voxels
from cryopipe.picking.source import Source
from cryopipe.volume.padding import Region, find_padding

logger = logging.getLogger(__name__)

_SMALLEST_SIGMA = 1.0
"""Voxels; the narrowest Gaussian that can be sampled."""
SMALLEST = 2 * math.sqrt(3 * RATIO) * _SMALLEST_SIGMA
"""Smallest diameter, voxels."""


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
    source = make_source(volume, options.clip, contrast, mask, device, name)
    if source is None:
        return Picks.none()
    search = Search(options.diameters, voxel_size, options.minimum_distance, options.border, chunk_voxels)
    if options.false_picks is None:
        lowest = options.threshold
        found = search.find(source, lowest)
    else:
        found = search.find(source, LOWEST)
        lowest, _ = threshold_for(options.false_picks, search, source, found)
    positions, scores, diameters = search.choose(found, lowest)
    best = slice(options.max_particles)
    return Picks(positions[best, ::-1].copy(), scores[best], diameters[best])


def make_source(
    volume: NDArray[Any],
    clip: float | None,
    contrast: str,
    mask: NDArray[Any] | None,
    device: torch.device | str,
    name: str,
) -> Source | None:
    """Return a tomogram as filters read it; None, with a warning, if it is constant or masked out.

    Parameters
    ----------
    volume, contrast, mask, device, name
        See `pick_particles`.
    clip
        See `PickOptions`.

    Raises
    ------
    DataError
        If the mask has another shape, or the tomogram contains NaN, infinite values or values above 1e12.
    """
    _check_mask(mask, volume.shape, name)
    region = _region_of(volume, mask, name)
    voxels = sample_voxels(volume, region, name)
    median, sigma = robust_statistics(voxels)
    if sigma == 0:
        logger.warning(
            "%s: no picks, because the tomogram is constant%s",
            name,
            "" if mask is None else " or masked out",
        )
        return None
    limit = math.inf if clip is None else clip * upper_deviation(voxels, median)
    sign = 1 if contrast == "bright" else -1
    return Source(volume, median, limit, sign, torch.device(device), region, name)


def _region_of(volume: NDArray[Any], mask: NDArray[Any] | None, name: str) -> Region:
    padding = find_padding(volume)
    if padding is not None:
        values = ", ".join(f"{value:g}" for value in padding.values)
        logger.info("%s: %.1f %% of the voxels are padding (%s)", name, 100 * padding.fraction, values)
    return Region(volume.shape, padding, mask)


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
    smallest = SMALLEST * voxel_size
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
