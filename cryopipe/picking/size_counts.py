"""Numbers of objects of each diameter in a tomogram, and in its null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.errors import DataError
from cryopipe.picking.false_picks import LOWEST, threshold_for
from cryopipe.picking.pick import SMALLEST, Picks, make_source
from cryopipe.picking.reduction import reduced
from cryopipe.picking.scale_search import ACROSS, ScaleSearch

RANGE = (67.0, 540.0)
"""Smallest and largest diameter searched, angstrom; the proposed ones are between 80 and 450."""
STEP = 2**0.25
"""Ratio of successive diameters."""
_FITTING = 0.8
"""Largest diameter, fraction of the tomogram's shortest edge."""
_FALSE_PICKS, _LEAST_FALSE = 0.6e-9, 3.0
"""Expected false objects per cubic angstrom, about 20 in 512 x 512 x 128 voxels of 10 A, and the least number."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SizeCounts:
    """Objects of each diameter in one tomogram.

    Attributes
    ----------
    name
        Of the tomogram.
    voxel_size
        Angstrom.
    objects
        The objects, best first; coordinates in voxels of the tomogram.
    found, expected
        (n,) number of objects of each diameter, and in the null.
    false_picks
        Expected number of false objects of all diameters.
    threshold
        Lowest score.
    """

    name: str
    voxel_size: float
    objects: Picks
    found: FloatArray
    expected: FloatArray
    false_picks: float
    threshold: float


def searched_diameters(
    voxel_sizes: Sequence[float], shapes: Sequence[tuple[int, ...]], name: str
) -> FloatArray:
    """Return the diameters that can be searched in tomograms, angstrom.

    Parameters
    ----------
    voxel_sizes
        Angstrom.
    shapes
        z, y, x.
    name
        Of the tomograms, for the message.

    Raises
    ------
    DataError
        If fewer than five diameters fit: the voxels are too large, or a tomogram too thin.
    """
    low = max(RANGE[0], SMALLEST * max(voxel_sizes))
    edge = min(min(shape) * size for shape, size in zip(shapes, voxel_sizes, strict=True))
    high = min(RANGE[1], _FITTING * edge)
    count = math.floor(math.log(high / low) / math.log(STEP) + 1e-6) + 1 if high > low else 0
    if count < 5:
        raise DataError(
            f"diameters from {low:.0f} A (voxels of {max(voxel_sizes):g} A) to {high:.0f} A (shortest edge {edge:.0f} A) "
            "are too few to propose one",
            file=name,
            remedy="give pick.diameters in numbers",
        )
    return np.asarray(low * STEP ** np.arange(count), np.float64)


def count_sizes(
    volume: NDArray[Any],
    voxel_size: float,
    contrast: str,
    diameters: FloatArray,
    clip: float | None = 4.0,
    mask: NDArray[Any] | None = None,
    name: str = "a tomogram",
    seed: int = 0,
) -> SizeCounts:
    """Count the objects of each diameter in a tomogram and in its null.

    Of a large tomogram, the middle is searched.

    Parameters
    ----------
    volume, voxel_size, contrast, mask, name
        As for `cryopipe.picking.pick_particles`.
    diameters
        As `searched_diameters` returns them.
    clip
        See `PickOptions`.
    seed
        Seed of the random phases.

    Raises
    ------
    DataError
        As `cryopipe.picking.pick_particles`.
    """
    part = reduced(volume, mask, diameters[0] / voxel_size / ACROSS)
    source = make_source(part.volume, clip, contrast, part.mask, torch.device("cpu"), name)
    none = np.zeros(len(diameters))
    false_picks = max(_LEAST_FALSE, _FALSE_PICKS * part.volume.size * (part.factor * voxel_size) ** 3)
    if source is None:
        return SizeCounts(name, voxel_size, Picks.none(), none, none, false_picks, math.inf)
    search = ScaleSearch(diameters.tolist(), part.factor * voxel_size)
    found = search.find(source, LOWEST)
    threshold, null = threshold_for(false_picks, search, source, found, seed)
    positions, scores, sizes = search.choose(found, threshold)
    picks = Picks(part.in_tomogram(positions)[:, ::-1].copy(), scores, sizes)
    counts = np.array([np.count_nonzero(sizes == one) for one in diameters], dtype=float)
    return SizeCounts(
        name, voxel_size, picks, counts, null.expected(search, threshold), false_picks, threshold
    )
