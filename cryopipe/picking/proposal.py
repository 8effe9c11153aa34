"""Proposal of picking diameters from tomograms: sizes of which there are more objects than in tomograms without particles.

Every object gets the diameter of the ball that holds all of it. The numbers of objects of each diameter are compared with
those in the tomogram's own null (`cryopipe.picking.false_picks`), and diameters at which the excess has a maximum are
proposed. At the smallest and the largest diameter searched an excess has no maximum: it may belong to other sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe.errors import DataError
from cryopipe.files.opening import OpenTomogram
from cryopipe.picking.pick import Picks
from cryopipe.picking.size_counts import STEP, FloatArray, SizeCounts, count_sizes, searched_diameters
from cryopipe.tomograms import Tomogram

_TOUCHING = 1.0
"""An object nearer to a larger one than this fraction of the sum of their radii is a part of it or its fringe."""
_LEAST_NUMBER, _SIGNIFICANT = 5.0, 4.0
"""Least excess of a proposed diameter, and the same in standard deviations of the number of false objects."""
_LEAST_FRACTION = 0.1
"""Least excess of a proposed diameter, fraction of that of the most frequent one."""
_VALLEY = 0.75
"""Highest excess between two proposed diameters, and on either side of one, fraction of the lower one."""
MOST = 3
"""Largest number of proposed diameters."""
TOMOGRAMS = 3
"""Number of tomograms that are searched."""


@dataclass(frozen=True)
class Proposal:
    """Proposed diameters.

    Attributes
    ----------
    diameters
        Angstrom, ascending; empty if no size is significant.
    counts
        (m,) number of objects in excess of the null at each.
    searched
        (n,) diameters that were searched, angstrom.
    found, expected
        (n,) number of objects of each in all tomograms, and in the null.
    """

    diameters: tuple[float, ...]
    counts: tuple[float, ...]
    searched: FloatArray
    found: FloatArray
    expected: FloatArray

    def nearest(self, diameters: FloatArray) -> NDArray[np.int64]:
        """Return the index of the proposed diameter to which objects of each diameter count; -1 if none."""
        if not self.diameters:
            return np.full(len(diameters), -1)
        ratio = np.abs(np.log(diameters[:, None] / np.array(self.diameters)))
        near = ratio.argmin(axis=1)
        return np.where(ratio.min(axis=1) < 1.5 * math.log(STEP), near, -1)


def chosen_tomograms(names: Sequence[str], most: int = TOMOGRAMS) -> list[str]:
    """Return at most so many names, evenly spaced among all of them."""
    places = np.linspace(0, len(names) - 1, min(most, len(names)))
    return [names[round(place)] for place in places]


def search_sizes(
    tomograms: Sequence[tuple[Tomogram, OpenTomogram]], clip: float | None, seed: int
) -> tuple[Proposal, list[SizeCounts]]:
    """Propose diameters from tomograms.

    Parameters
    ----------
    tomograms
        Rows of the tomogram table with their volumes, at least one.
    clip
        See `PickOptions`.
    seed
        Seed of the random phases.

    Returns
    -------
    The proposal, and the counts of each tomogram.

    Raises
    ------
    DataError
        If too few diameters fit a tomogram, or one has unusable values.
    """
    sizes, shapes = zip(*((one.voxel_size, one.volume.shape) for _, one in tomograms), strict=True)
    names = ", ".join(row.name for row, _ in tomograms)
    diameters = searched_diameters(sizes, shapes, names)
    counts = [
        count_sizes(
            one.volume, one.voxel_size, row.contrast, diameters, clip, one.mask, name=row.name, seed=seed
        )
        for row, one in tomograms
    ]
    return propose_diameters(diameters, counts), counts


def no_proposal(names: Sequence[str]) -> DataError:
    """Return the error for tomograms in which no size is significant."""
    return DataError(
        f"tomogram {', '.join(names)}: no diameter from 80 to 450 A has significantly more objects than the tomogram "
        "without particles",
        remedy="check the contrast (imaging.contrast) and voxel size, or give pick.diameters in numbers",
    )


def propose_diameters(diameters: FloatArray, counts: Sequence[SizeCounts]) -> Proposal:
    """Propose the diameters at which there are more objects than in the null.

    From the largest to the smallest, a diameter is accepted if the excess of objects has a significant maximum there;
    smaller objects that touch its objects are then no longer counted: they are their parts and fringes.

    Parameters
    ----------
    diameters
        The searched ones, angstrom, ascending in equal ratios.
    counts
        Of one or more tomograms.
    """
    expected = np.sum([one.expected for one in counts], axis=0)
    # the null of few blocks may miss false objects; noise has as many of a diameter as there are places for it
    places = diameters**-3.0
    noise = np.maximum(expected, sum(one.false_picks for one in counts) * places / places.sum())
    objects = [one.objects for one in counts]
    chosen: list[tuple[float, float]] = []
    ceiling = len(diameters)
    while True:
        found = np.sum([_numbers(one, diameters) for one in objects], axis=0)
        excess = found - expected
        peaks = [i for i in _peaks(excess) if i < ceiling - 1 and _significant(excess, noise, i)]
        if not peaks:
            break
        ceiling = peaks[-1]
        size = _mean_size(diameters, excess, ceiling)
        chosen.append((size, float(_around(excess, ceiling).sum())))
        members = _around(diameters, ceiling)
        objects = [
            _without_parts(one, members, count.voxel_size) for one, count in zip(objects, counts, strict=True)
        ]
    most = max((count for _, count in chosen), default=0.0)
    kept = [one for one in chosen if one[1] >= _LEAST_FRACTION * most]
    kept = sorted(sorted(kept, key=lambda one: -one[1])[:MOST])
    found = np.sum([one.found for one in counts], axis=0)
    sizes, numbers = tuple(_rounded(size) for size, _ in kept), tuple(number for _, number in kept)
    return Proposal(sizes, numbers, diameters, found, expected)


def _numbers(objects: Picks, diameters: FloatArray) -> FloatArray:
    return np.array([np.count_nonzero(objects.diameters == one) for one in diameters], dtype=float)


def _peaks(excess: FloatArray) -> list[int]:
    """Return the maxima between which, and beyond which, the excess falls; none at the ends."""
    smooth = np.convolve(np.maximum(excess, 0), [0.5, 1.0, 0.5], "same")
    last = len(smooth) - 1
    found = []
    for i in range(1, last):
        if smooth[i] > smooth[i - 1] and smooth[i] >= smooth[i + 1]:
            sides = (smooth[:i][::-1], smooth[i + 1 :])
            found += [i] if all(_falls(smooth[i], side) for side in sides) else []
    return found


def _falls(height: float, side: FloatArray) -> bool:
    """Return whether the values on one side of a maximum fall below a fraction of it before they are higher than it."""
    higher = np.flatnonzero(side > height)
    return bool((side[: higher[0] if len(higher) else None] < _VALLEY * height).any())


def _significant(excess: FloatArray, noise: FloatArray, index: int) -> bool:
    needed = max(_LEAST_NUMBER, _SIGNIFICANT * math.sqrt(2 * _around(noise, index).sum()))
    return bool(_around(excess, index).sum() >= needed)


def _without_parts(objects: Picks, members: FloatArray, voxel_size: float) -> Picks:
    """Return the objects without those that are smaller than members of a size and touch one of them."""
    kept = np.ones(len(objects), bool)
    smaller = np.flatnonzero(objects.diameters < members.min())
    for diameter in members:
        of_size = objects.coordinates[objects.diameters == diameter]
        apart = cKDTree(of_size).query(objects.coordinates[smaller])[0] * voxel_size
        kept[smaller[apart < _TOUCHING * (diameter + objects.diameters[smaller]) / 2]] = False
    return Picks(objects.coordinates[kept], objects.scores[kept], objects.diameters[kept])


def _around(values: FloatArray, index: int) -> FloatArray:
    return values[max(0, index - 1) : index + 2]


def _mean_size(diameters: FloatArray, excess: FloatArray, index: int) -> float:
    weights = np.maximum(_around(excess, index), 0)
    return float(np.exp(np.average(np.log(_around(diameters, index)), weights=weights)))


def _rounded(diameter: float) -> float:
    step = 5 if diameter < 200 else 10
    return float(step * round(diameter / step))
