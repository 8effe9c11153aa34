"""Preparation of averages for placement: rescaling, thresholding, cleaning and cropping."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.reembedding.options import ReembeddingOptions
from cryopipe.volume.fourier import fourier_rescale
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.rotate import SplineVolume

logger = logging.getLogger(__name__)

FLAT = 1e-5
"""An average is flat if its standard deviation is at most this fraction of its largest value."""
SMALLEST_PIECE = 0.1
"""Connected pieces of a thresholded average smaller than this fraction of the largest one are removed."""


@dataclass(frozen=True)
class Template:
    """An average prepared for placement.

    Attributes
    ----------
    volume
        (z, y, x) float32, at the tomogram's voxel size, centred at n // 2; in standard deviations above the
        average's mean, 0 outside the structure.
    level
        Voxels with values above it belong to the structure.
    """

    volume: NDArray[np.float32]
    level: float

    @cached_property
    def spline(self) -> SplineVolume:
        """The volume, prepared for rotation."""
        return SplineVolume(self.volume)


def make_template(
    average: Tensor, voxel_size: float, tomogram_voxel_size: float, options: ReembeddingOptions
) -> Template:
    """Make a template from an average at a tomogram's voxel size.

    Parameters
    ----------
    average
        (n, n, n), particles bright.
    voxel_size, tomogram_voxel_size
        Of the average and of the tomogram, angstrom.
    options
        The rule for the level.

    Returns
    -------
    The template. If the average is flat, its volume is 0 and a warning is logged.
    """
    size = 2 * int(np.ceil(average.shape[-1] * voxel_size / tomogram_voxel_size / 2))
    scaled = fourier_rescale(average.float(), voxel_size, tomogram_voxel_size, size)
    inside = sphere_mask(size, size / 2 - 1, 0) > 0
    mean, deviation = scaled[inside].mean(), scaled[inside].std()
    if deviation <= FLAT * average.abs().max():
        logger.warning("an average is flat (standard deviation near 0): its particles are not placed")
        return Template(np.zeros((size,) * 3, dtype=np.float32), options.sigma)
    scaled = (scaled - mean) / deviation
    level = _level(scaled[inside], options)
    structure = _large_pieces(((scaled > level) & inside).numpy())
    if not structure.any():
        logger.warning(
            "no voxel of an average exceeds %.3g standard deviations: its particles are not placed", level
        )
    near = ndimage.binary_dilation(structure, iterations=2).astype(np.float32)
    # The structure itself is not changed; only the voxels outside it fall off smoothly.
    soft = np.where(structure, 1, ndimage.gaussian_filter(near, 0.7))
    return Template(_cropped(np.maximum(scaled.numpy() * soft, 0).astype(np.float32)), level)


def make_templates(
    averages: Mapping[int, ClusterAverage],
    clusters: Collection[int],
    tomogram_voxel_size: float,
    options: ReembeddingOptions,
) -> dict[int, Template]:
    """Make templates from the averages of the clusters that are placed; see `make_template`.

    Parameters
    ----------
    averages
        By cluster number.
    clusters
        Numbers of the clusters with particles to place.
    tomogram_voxel_size
        Angstrom.
    options
        The rule for the level.
    """
    return {
        number: make_template(
            torch.from_numpy(average.volume), average.voxel_size, tomogram_voxel_size, options
        )
        for number, average in averages.items()
        if number in clusters
    }


def _level(values: Tensor, options: ReembeddingOptions) -> float:
    """Return the level for `values` in standard deviations above the mean."""
    if options.threshold == "sigma":
        return options.sigma
    descending = values[values > 0].sort(descending=True).values
    enclosed = descending.cumsum(0) / descending.sum().clamp(min=1e-12)
    index = int((enclosed < options.mass_fraction).sum())
    return float(descending[min(index, len(descending) - 1)])


def _cropped(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Crop to the smallest cube that contains the structure in any rotation; the centre remains at n // 2."""
    centre = volume.shape[0] // 2
    places = np.argwhere(volume > 0) - centre
    reach = 2 + int(np.ceil(np.linalg.norm(places, axis=1).max(initial=0)))
    kept = slice(max(0, centre - reach), centre + reach)
    return volume if reach >= centre else volume[kept, kept, kept]


def _large_pieces(structure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Remove connected pieces below `SMALLEST_PIECE` of the largest."""
    # remove_small_objects of skimage.morphology needs the largest size first, and takes six times as long.
    pieces, count = ndimage.label(structure)
    if count == 0:
        return structure
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= SMALLEST_PIECE * sizes.max())[pieces]
