"""Distances between particles of classes, compared with shuffled positions in the same volumes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryopipe.evidence.shuffling import region_of, shuffled_positions
from cryopipe.evidence.specimen import Specimen

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float64]

SHUFFLES = 199
BINS = 20
MOST_PARTICLES = 20_000
"""Of larger runs, tomograms with about as many particles are measured, drawn at random."""
POINTS = 200_000
"""Shuffled particles that are held at a time."""
ENVELOPE = (2.5, 97.5)
"""Percentiles of the shuffled values."""
CURVES = ("cluster", "neighbour", "low", "high", "pairs", "expected", "pairs_low", "pairs_high", "nearest", "nearest_expected",
          "nearest_low", "nearest_high")  # fmt: skip
"""Columns of the table of distances."""


@dataclass(frozen=True)
class Sites:
    """Particles of one tomogram.

    Attributes
    ----------
    positions
        (n, 3) x, y, z, angstrom.
    classes
        (n,) indices into the classes of the run.
    rotations
        n active rotations from the average to the particle.
    specimen
        The tomogram.
    """

    positions: FloatArray
    classes: NDArray[np.int64]
    rotations: Rotation
    specimen: Specimen


@dataclass(frozen=True)
class Distances:
    """Numbers of neighbours by distance, observed and in shuffled positions.

    Attributes
    ----------
    edges
        (b + 1,) angstrom.
    pairs
        (1 + s, k, k + 1, b) pairs of particles of two classes; the last neighbour is the nearest membrane. Index 0 is
        observed, the others are shuffled.
    nearest
        (1 + s, k, k + 1, b) particles of a class whose nearest neighbour of the other class is at this distance.
    """

    edges: FloatArray
    pairs: FloatArray
    nearest: FloatArray


def count_neighbours(sites: Sequence[Sites], classes: int, reach: float, seed: int) -> Distances:
    """Count neighbours in observed and in shuffled positions.

    Parameters
    ----------
    sites
        One per tomogram.
    classes
        Number of classes, k.
    reach
        Largest distance, angstrom.
    seed
        Of the shuffled positions.
    """
    rng = np.random.default_rng([seed, 32])
    chosen = _chosen(sites, rng)
    edges = np.linspace(0, reach, BINS + 1)
    shape = (1 + SHUFFLES, classes, classes + 1, BINS)
    total = Distances(edges, np.zeros(shape), np.zeros(shape))
    nearest = min(
        (_smallest_distance(one.positions) for one in chosen if len(one.positions) > 1), default=0.0
    )
    margin = min((_margin(one) for one in chosen), default=0.0)
    for one in chosen:
        region = region_of(one.positions, one.specimen, margin)
        step = max(1, POINTS // len(one.positions))
        _add(total, slice(0, 1), one.positions[None], one, edges)
        for start in range(0, SHUFFLES, step):
            count = min(step, SHUFFLES - start)
            moved = shuffled_positions(one.positions, region, reach, nearest, count, rng)
            _add(total, slice(1 + start, 1 + start + count), moved, one, edges)
    return total


def _chosen(sites: Sequence[Sites], rng: np.random.Generator) -> list[Sites]:
    filled = [one for one in sites if len(one.positions)]
    if sum(len(one.positions) for one in filled) <= MOST_PARTICLES:
        return filled
    order = rng.permutation(len(filled))
    sizes = np.cumsum([len(filled[place].positions) for place in order])
    kept = sorted(order[: 1 + int(np.searchsorted(sizes, MOST_PARTICLES))])
    logger.info("neighbours are measured in %d of %d tomograms", len(kept), len(filled))
    return [filled[place] for place in kept]


def _smallest_distance(positions: FloatArray) -> float:
    return float(cKDTree(positions).query(positions, k=2)[0][:, 1].min())


def _margin(one: Sites) -> float:
    """Return the smallest distance of the particles of a tomogram to its faces along x and y, angstrom."""
    size = (np.array(one.specimen.shape_zyx[:0:-1]) - 1.0) * one.specimen.voxel_size
    across = one.positions[:, :2]
    return max(0.0, float(np.minimum(across, size - across).min()))


def _add(total: Distances, rows: slice, positions: FloatArray, one: Sites, edges: FloatArray) -> None:
    """Add the neighbours in positions (c, n, 3) of one tomogram's particles to rows of the counts."""
    copies, count = positions.shape[:2]
    reach, kinds = edges[-1], total.pairs.shape[1]
    flat = positions.reshape(-1, 3).copy()
    extent = float(np.ptp(flat[:, 0])) + 2 * reach + 1
    flat[:, 0] += np.repeat(np.arange(copies), count) * extent
    first, second = cKDTree(flat).query_pairs(reach, output_type="ndarray").T
    distances = np.linalg.norm(flat[first] - flat[second], axis=1)
    classes = np.tile(one.classes, copies)
    nearest = np.full((copies * count, kinds + 1), np.inf)
    for a, b in ((first, second), (second, first)):
        np.minimum.at(nearest, (a, classes[b]), distances)
        place = _places(a // count, classes[a], classes[b], distances, edges, kinds)
        total.pairs[rows] += np.bincount(place, minlength=copies * kinds * (kinds + 1) * BINS).reshape(
            copies, kinds, kinds + 1, BINS
        )
    nearest[:, kinds] = one.specimen.membrane_distance(positions.reshape(-1, 3))
    who, which = np.nonzero(nearest < reach)
    place = _places(who // count, classes[who], which, nearest[who, which], edges, kinds)
    found = np.bincount(place, minlength=copies * kinds * (kinds + 1) * BINS)
    total.nearest[rows] += found.reshape(copies, kinds, kinds + 1, BINS)
    total.pairs[rows, :, kinds] += found.reshape(copies, kinds, kinds + 1, BINS)[:, :, kinds]


def _places(
    copy: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    distances: FloatArray,
    edges: FloatArray,
    kinds: int,
) -> NDArray[np.int64]:
    bins = np.minimum((distances / edges[1]).astype(np.int64), BINS - 1)
    return ((copy * kinds + first) * (kinds + 1) + second) * BINS + bins


def family_probabilities(counts: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Return how unlikely it is that so many neighbours are found at any distance, for all pairs of classes together.

    Parameters
    ----------
    counts
        (1 + s, k, m, b), observed first.

    Returns
    -------
    (k, m) probability that in shuffled positions any pair of classes has an excess as large as that of this pair at
    any distance; (k, m) largest excess, in standard deviations of Poisson counts; and (k, m) the bin where it is.
    """
    roots = 2 * np.sqrt(counts + 0.375)
    excess = roots - 2 * np.sqrt(counts[1:].mean(axis=0) + 0.375)
    largest = excess.max(axis=3)
    family = largest[1:].reshape(len(counts) - 1, -1).max(axis=1)
    at_least = (family[:, None, None] >= largest[0] - 1e-9).sum(axis=0)
    return (1 + at_least) / len(counts), largest[0], excess[0].argmax(axis=2)


def distance_table(distances: Distances, numbers: Sequence[int], membranes: bool) -> pd.DataFrame:
    """Return the table of distances: one row per class, neighbour and bin, with `CURVES` as columns.

    Parameters
    ----------
    distances
        From `count_neighbours`.
    numbers
        (k,) numbers of the classes.
    membranes
        Whether rows about membranes are included.
    """
    names = [*map(str, numbers), "membrane"][: len(numbers) + int(membranes)]
    rows: list[list[object]] = []
    summaries = [_summary(counts) for counts in (distances.pairs, distances.nearest)]
    for first, number in enumerate(numbers):
        for second, name in enumerate(names):
            for place in range(BINS):
                values = [float(part[first, second, place]) for summary in summaries for part in summary]
                low, high = distances.edges[place : place + 2]
                rows.append([number, name, low, high, *values])
    return pd.DataFrame(rows, columns=list(CURVES))


def _summary(counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    low, high = np.percentile(counts[1:], ENVELOPE, axis=0)
    return counts[0], counts[1:].mean(axis=0), low, high


def sites_of(
    positions: FloatArray,
    classes: NDArray[np.int64],
    rotations: Rotation,
    tomograms: Sequence[str],
    specimens: Mapping[str, Specimen],
) -> list[Sites]:
    """Divide particles by their tomograms; see `Sites`."""
    names = np.asarray(tomograms, dtype=str)
    return [
        Sites(positions[names == name], classes[names == name], rotations[names == name], specimens[name])
        for name in np.unique(names)
    ]
