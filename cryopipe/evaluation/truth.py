"""Ground truth: reading of its columns, and matching of found with true particles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.evaluation.point_matching import Matches, match_points
from cryopipe.simulation.assemblies import draw_spec
from cryopipe.simulation.phantoms import EXAMPLES
from cryopipe.simulation.tomogram import SPECIES

SYMMETRY = "cryopipeSymmetry"
"""Column of a truth table with the point group of each particle's class, in RELION's convention of axes."""
TRUE_CLASS = "cryopipeTrueClass"
"""Column of the matches: class of the true particle; `NO_MATCH` without a match."""
TRUE_INDEX = "cryopipeTrueIndex"
"""Column of the matches: row of the true particle in its tomogram's truth, from 0; -1 without a match."""
DISTANCE = "cryopipeTrueDistance"
"""Column of the matches: angstrom from the true centre; -1 without a match."""
NO_MATCH = "none"


@dataclass(frozen=True)
class MatchedParticles:
    """Found particles with the matched true particles.

    Attributes
    ----------
    table
        The found particles, with the additional columns `TRUE_CLASS`, `TRUE_INDEX` and `DISTANCE`.
    truth
        The true particles by tomogram.
    matches
        The pairs by tomogram; distances in angstrom.
    """

    table: pd.DataFrame
    truth: Mapping[str, pd.DataFrame]
    matches: Mapping[str, Matches]

    @property
    def true_classes(self) -> np.ndarray:
        """Class of every true particle, found or not, in the order of the tomograms."""
        parts = [true_classes(table) for table in self.truth.values()]
        return np.concatenate(parts) if parts else np.zeros(0, str)

    @property
    def was_found(self) -> np.ndarray:
        """Whether each true particle was found, in the order of `true_classes`."""
        parts = []
        for name, table in self.truth.items():
            found = np.zeros(len(table), bool)
            found[self.matches[name].truth] = True
            parts.append(found)
        return np.concatenate(parts) if parts else np.zeros(0, bool)


def true_classes(truth: pd.DataFrame) -> np.ndarray:
    """Return the class name of every row of a truth table: its species, its class number, or "particle"."""
    if SPECIES in truth:
        return truth[SPECIES].astype(str).to_numpy(str)
    if columns.CLASS in truth:
        return np.array([f"class_{number:02d}" for number in truth[columns.CLASS].astype(int)], dtype=str)
    return np.full(len(truth), "particle")


def symmetry_of(name: str, truth: pd.DataFrame) -> str:
    """Return the point group of a class: that in the truth table, else that of the simulated class, else C1."""
    rows = truth[true_classes(truth) == name]
    if SYMMETRY in truth and len(rows):
        return str(rows[SYMMETRY].iloc[0])
    if name in EXAMPLES:
        return EXAMPLES[name].symmetry
    made = re.fullmatch(r"phantom_([0-9]+)", name)
    return draw_spec(int(made[1])).symmetry if made else "C1"


def of_tomogram(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a truth table's rows of one tomogram; all rows if it has no column with tomogram names."""
    if columns.TOMOGRAM in table:
        rows = table[columns.TOMOGRAM].astype(str) == name
    elif columns.MICROGRAPH in table:
        rows = table[columns.MICROGRAPH].astype(str).map(lambda path: PurePath(path).stem) == name
    else:
        return table
    return table[rows].reset_index(drop=True)


def voxel_sizes_of(found: pd.DataFrame, tomograms: Iterable[str]) -> dict[str, float]:
    """Return each tomogram's voxel size, angstrom, from its found particles.

    The value is 1 for a tomogram without found particles, in which nothing is measured.
    """
    if not len(found):
        return dict.fromkeys(tomograms, 1.0)
    sizes = found.groupby(found[columns.TOMOGRAM].astype(str))[columns.VOXEL_SIZE].first()
    return {name: float(sizes.get(name, 1.0)) for name in tomograms}


def centres(table: pd.DataFrame, voxel_size: float) -> np.ndarray:
    """Return the particles' centres (n, 3) xyz in angstrom: coordinates minus origins.

    Raises
    ------
    DataError
        If the table has no coordinates.
    """
    missing = [name for name in columns.COORDINATES if name not in table]
    if missing:
        raise DataError(
            f"a particle table has no column {', '.join(missing)}",
            remedy="use a STAR file of particles with coordinates",
        )
    positions = table[list(columns.COORDINATES)].to_numpy(float) * voxel_size
    if all(name in table for name in columns.ORIGINS):
        positions = positions - table[list(columns.ORIGINS)].to_numpy(float)
    return positions


def match_particles(
    found: pd.DataFrame, truth: Mapping[str, pd.DataFrame], voxel_sizes: Mapping[str, float], radius: float
) -> MatchedParticles:
    """Match found with true particles in each tomogram.

    Parameters
    ----------
    found
        Particles of all tomograms.
    truth
        The true particles by tomogram; a tomogram without true particles has an empty table.
    voxel_sizes
        Angstrom, by tomogram.
    radius
        Angstrom.
    """
    table = found.reset_index(drop=True)
    classes = np.full(len(table), NO_MATCH, dtype=object)
    rows, distances = np.full(len(table), -1), np.full(len(table), -1.0)
    matches = {}
    for name, true in truth.items():
        members = (
            np.flatnonzero(table[columns.TOMOGRAM].astype(str) == name) if len(table) else np.zeros(0, int)
        )
        size = voxel_sizes[name]
        picked = centres(table.iloc[members], size) if len(members) else np.zeros((0, 3))
        targets = centres(true, size) if len(true) else np.zeros((0, 3))
        match = matches[name] = match_points(picked, targets, radius)
        places = members[match.found]
        classes[places] = true_classes(true)[match.truth]
        rows[places], distances[places] = match.truth, match.distances
    table = table.assign(**{TRUE_CLASS: classes.astype(str), TRUE_INDEX: rows, DISTANCE: distances})
    return MatchedParticles(table, truth, matches)
