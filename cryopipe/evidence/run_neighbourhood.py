"""Neighbourhood of a run: which classes are nearer to each other, or to membranes, than by chance, and how they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.evidence.neighbourhood import (
    CURVES,
    ENVELOPE,
    count_neighbours,
    distance_table,
    family_probabilities,
    sites_of,
)
from cryopipe.evidence.relative_orientations import RelativeOrientation, relative_orientation
from cryopipe.evidence.specimen import Specimen
from cryopipe.particles import positions_of_table, rotations_of_table

REACH = 4.0
"""Largest distance of neighbours in picking diameters, by default."""
CONTACT = 1.5
"""Distance up to which particles are neighbours in picking diameters."""
SUMMARY = ("cluster", "neighbour", "particles", "neighbours", "contact", "in_contact", "contact_expected", "contact_low",
           "contact_high", "excess_at", "ratio", "p", "orientation", "orientation_expected", "orientation_p")  # fmt: skip
"""Columns of the table of neighbours."""
MEMBRANE = "membrane"


def neighbourhood_of_run(
    aligned: pd.DataFrame, specimens: Mapping[str, Specimen], reach: float | None, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the neighbours of all classes with those in shuffled positions.

    Parameters
    ----------
    aligned
        The particles of all averages with tomogram, coordinates, poses and class; without doubles.
    specimens
        By tomogram.
    reach
        Largest distance, angstrom; None: `REACH` times the median picking diameter.
    seed
        Of the shuffled positions.

    Returns
    -------
    One row per class and neighbour (a class, or `membrane`), with `SUMMARY` as columns: numbers of particles of both;
    contact (angstrom), and in_contact, the fraction of the class with such a neighbour within it, with mean and 95 % range
    in shuffled positions; excess_at, the distance with the largest excess of pairs, and ratio, pairs there over those
    expected; p, the probability that any two classes of the run have such an excess at any distance by chance; and how
    similar the relative orientations of neighbours in contact are, see `RelativeOrientation`, with a p that is multiplied
    by the number of pairs tested. The second table has the counts by distance, see `distance_table`.
    """
    usable = aligned[aligned[columns.CLASS] != columns.UNASSIGNED] if len(aligned) else aligned
    if not len(usable):
        return pd.DataFrame(columns=list(SUMMARY)), pd.DataFrame(columns=list(CURVES))
    diameter = float(usable[columns.DIAMETER].median()) if columns.DIAMETER in usable else math.nan
    reach = reach or REACH * diameter
    contact = min(reach, CONTACT * reach / REACH if math.isnan(diameter) else CONTACT * diameter)
    numbers, classes = np.unique(usable[columns.CLASS].to_numpy(np.int64), return_inverse=True)
    names = usable[columns.TOMOGRAM].astype(str).tolist()
    sites = sites_of(positions_of_table(usable), classes, rotations_of_table(usable), names, specimens)
    distances = count_neighbours(sites, len(numbers), reach, seed)
    membranes = any(one.specimen.membranes is not None for one in sites)
    p, _, place = family_probabilities(distances.pairs)
    upper = max(1, int(np.searchsorted(distances.edges, contact, side="right")) - 1)
    within = distances.nearest[..., :upper].sum(axis=-1)
    sizes = np.bincount(classes)
    relative = {
        (a, b): relative_orientation(sites, a, b, contact, seed)
        for a in range(len(numbers))
        for b in range(len(numbers))
    }
    tested = sum(not math.isnan(one.p) for one in relative.values())
    rows: list[list[object]] = []
    for a, number in enumerate(numbers):
        for b in range(len(numbers) + int(membranes)):
            name, others = (MEMBRANE, math.nan) if b == len(numbers) else (str(numbers[b]), float(sizes[b]))
            low, high = np.percentile(within[1:, a, b], ENVELOPE)
            reached = np.array([within[0, a, b], within[1:, a, b].mean(), low, high]) / sizes[a]
            middle = float(distances.edges[place[a, b] : place[a, b] + 2].mean())
            ratio = _ratio(distances.pairs[:, a, b, place[a, b]])
            found = [contact, *reached.tolist(), middle, ratio, float(p[a, b])]
            rows.append(
                [number, name, int(sizes[a]), others, *found, *_orientation(relative.get((a, b)), tested)]
            )
    return pd.DataFrame(rows, columns=list(SUMMARY)), distance_table(distances, numbers.tolist(), membranes)


def _ratio(counts: NDArray[np.float64]) -> float:
    expected = float(counts[1:].mean())
    return float(counts[0]) / expected if expected > 0 else math.nan


def _orientation(found: RelativeOrientation | None, tested: int) -> list[float]:
    if found is None:
        return [math.nan] * 3
    return [found.alike, found.expected, min(1.0, found.p * tested)]


def pair_correlation(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the pair correlation of a table of distances: cluster, neighbour, distance, and correlation with its range.

    The distance is the middle of the bin, angstrom. Observed pairs, and the 95 % range of shuffled ones, are divided by the
    mean number of pairs in shuffled positions, which takes borders and masks into account; NaN without expected pairs.
    """
    expected = curves["expected"].where(curves["expected"] > 0)
    return pd.DataFrame(
        {
            "cluster": curves["cluster"],
            "neighbour": curves["neighbour"].astype(str),
            "distance": (curves["low"] + curves["high"]) / 2,
            "correlation": curves["pairs"] / expected,
            "lowest": curves["pairs_low"] / expected,
            "highest": curves["pairs_high"] / expected,
        }
    )
