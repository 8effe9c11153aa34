"""Threshold from the expected number of false picks, counted in volumes that hold no particles.

Two such volumes are made from the tomogram. One has its contrast inverted; it has the noise of the tomogram, but the
fringes around particles appear as particles in it. The other has random phases, block by block; it has the power spectrum
of the tomogram, to which particles contribute. Each gives too many picks where there are many particles, for a different
reason, so the smaller number is used. What is well above the threshold is then left out of both volumes, and the threshold is
determined again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial import cKDTree

from cryopipe.picking.candidates import Search
from cryopipe.picking.maxima import Maxima
from cryopipe.picking.source import Source
from cryopipe.volume.padding import Region

logger = logging.getLogger(__name__)

LOWEST = 3.0
"""Lowest threshold, robust standard deviations."""
_BLOCK = 128
"""Largest edge of the blocks whose phases are randomised, voxels."""
_BLOCKS = 2
"""Largest number of blocks."""
_LEAST_KNOWN = 0.5
"""Smallest fraction of known voxels in a block."""
_LEAST_FREE = 0.2
"""Smallest fraction of voxels in a block that are known and not picked."""
_EXTENT, _FRINGE = 0.6, 0.8
"""Distances from a pick within which voxels and inverted maxima are left out, fractions of its diameter."""
_CERTAIN = 1.25
"""Ratio to the threshold of the scores of picks that are left out; without the highest maxima, noise would seem lower."""
_ROUNDS = 4
"""Most determinations of the threshold."""
_CLOSE = 0.1
"""Change of the threshold at which it is final, standard deviations."""
_STRIDE = 4
"""Voxels between those counted to measure the known volume."""
_STEP, _BISECTIONS = 0.2, 4
"""Step of the search for the threshold, standard deviations, and bisections of the last step."""


@dataclass(frozen=True)
class _Null:
    """Candidates in a volume without particles, and the ratio of the tomogram's known volume to that volume's."""

    found: list[Maxima]
    ratio: float


@dataclass(frozen=True)
class Null:
    """Volumes that hold no particles, grouped by how they were made: inverted contrast, random phases.

    Attributes
    ----------
    groups
        Candidates of each volume of each group.
    """

    groups: list[list[_Null]]

    def expected(self, search: Search, threshold: float) -> NDArray[np.float64]:
        """Return the mean number of picks of each diameter with at least a score, of the group with fewer of them."""
        counts = [
            np.mean([null.ratio * _numbers(search, null.found, threshold) for null in group], axis=0)
            for group in self.groups
            if group
        ]
        return np.asarray(min(counts, key=lambda each: float(each.sum())))


def _numbers(search: Search, found: Sequence[Maxima], threshold: float) -> NDArray[np.float64]:
    _, _, diameters = search.choose(found, threshold)
    return np.array([np.count_nonzero(diameters == one) for one in search.diameters], dtype=float)


def threshold_for(
    false_picks: float, search: Search, source: Source, found: Sequence[Maxima], seed: int = 0
) -> tuple[float, Null]:
    """Return the lowest score with at most the expected number of false picks, and the candidates behind that number.

    Parameters
    ----------
    false_picks
        Number of false picks in the tomogram.
    search, source
        What is searched for, and the tomogram.
    found
        Candidates in the tomogram, whose statistics define the scores.
    seed
        Seed of the random phases.

    Returns
    -------
    Score in robust standard deviations, at least `LOWEST`, and the candidates in volumes without particles.
    """
    inverted = replace(source, sign=-source.sign, name=f"{source.name}, inverted contrast")
    mirrored = search.find(inverted, LOWEST, [replace(one, median=-one.median) for one in found])
    shape = source.volume.shape
    counted = np.argwhere(source.region.grid(*(np.arange(0, n, _STRIDE) for n in shape))) * _STRIDE
    picked, threshold = Picked(np.zeros((0, 3)), np.zeros(0)), math.inf
    for _ in range(_ROUNDS):
        free = ~picked.near(counted, _FRINGE)
        outside = [one.select(~picked.near(one.positions, _FRINGE)) for one in mirrored]
        ratio = len(counted) / max(1, int(free.sum()))
        known = len(counted) * _STRIDE**3
        randomised = [
            _Null(search.find(one, LOWEST, found), known / one.volume.size)
            for one in randomised_blocks(source, picked, np.random.default_rng(seed))
        ]
        null = Null([[_Null(outside, ratio)], randomised])
        previous, threshold = threshold, _lowest(null, false_picks, search)
        if abs(previous - threshold) < _CLOSE:
            break
        positions, _, diameters = search.choose(found, _CERTAIN * threshold)
        picked = Picked(positions, diameters / search.voxel_size)
    logger.info("%s: threshold %.2f sigma for %g expected false picks", source.name, threshold, false_picks)
    return threshold, null


def _lowest(null: Null, false_picks: float, search: Search) -> float:
    """Return the lowest score at which one of the groups has at most `false_picks` picks on average."""

    def expected(threshold: float) -> float:
        return float(null.expected(search, threshold).sum())

    scores = np.concatenate([one.scores for group in null.groups for each in group for one in each.found])
    low, high = LOWEST, float(scores.max(initial=LOWEST)) + _STEP
    # from above, where there are few candidates
    while high - _STEP > low and expected(high - _STEP) <= false_picks:
        high -= _STEP
    if high - _STEP <= low:
        return low if expected(low) <= false_picks else high
    low = high - _STEP
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) > false_picks else (low, middle)
    return high


@dataclass(frozen=True)
class Picked:
    """Picks to leave out: positions z, y, x and diameters, voxels."""

    positions: NDArray[np.float64]
    diameters: NDArray[np.float64]

    def near(self, places: NDArray[Any], factor: float) -> NDArray[np.bool_]:
        """Return which places (n, 3) are within `factor` times the diameter of a pick."""
        result = np.zeros(len(places), dtype=bool)
        for diameter in np.unique(self.diameters):
            tree = cKDTree(self.positions[self.diameters == diameter])
            result |= np.isfinite(tree.query(places, distance_upper_bound=factor * diameter)[0])
        return result


def randomised_blocks(
    source: Source, picked: Picked, rng: np.random.Generator, count: int = _BLOCKS
) -> Iterator[Source]:
    """Yield at most `count` periodic blocks with random phases and the power spectrum of what is not picked."""
    shape = source.volume.shape
    size = [min(n, _BLOCK) for n in shape]
    for number in range(count):
        corner = rng.integers(0, np.array(shape) - size + 1)
        phases = fft.rfftn(rng.standard_normal(size, np.float32))
        z, y, x = ((low, low + n) for low, n in zip(corner.tolist(), size, strict=True))
        block = source.block((z, y, x))
        weights = np.ones(size, np.float32)
        for factor in block.weights:
            weights = weights * factor.cpu().numpy()
        whole = weights.mean()
        places = np.indices(size).reshape(3, -1).T + corner
        weights *= ~picked.near(places, _EXTENT).reshape(size)
        fraction = float(weights.mean())
        if whole < _LEAST_KNOWN or fraction < _LEAST_FREE:
            continue
        values = block.values.cpu().numpy()
        values = (values - (values * weights).sum() / weights.sum()) * weights
        spectrum = np.abs(fft.rfftn(values)) / math.sqrt(fraction)
        made = fft.irfftn(spectrum * phases / np.maximum(np.abs(phases), 1e-12), s=size).astype(np.float32)
        name = f"{source.name}, random phases {number + 1}"
        yield Source(made, 0.0, math.inf, 1, source.device, Region(made.shape), name)
