"""Doubles: several aligned particles at the place of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from cryopipe import columns
from cryopipe.particles import positions_of_table
from cryopipe.volume.suppression import suppress


def mark_doubles(particles: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """Mark the particles that lie at the place of another particle of the same or of another cluster.

    Parameters
    ----------
    particles
        Aligned particles of all clusters, with positions at the centres of their averages, scores, extents, and whether
        each is in its average.
    fraction
        Two particles are doubles if they are nearer than this fraction of the extent of the one with the better score.
        Particles that are in their average are better than those that are not.

    Returns
    -------
    The same rows in the same order, with the column `DOUBLE_OF`: the name of the particle that is kept at this place, or
    `NO_DOUBLE`.
    """
    names = np.full(len(particles), columns.NO_DOUBLE, dtype=object)
    if len(particles):
        positions = positions_of_table(particles)
        tomograms = particles[columns.TOMOGRAM].astype(str).to_numpy()
        # Scores are at most 1: those of particles in an average come first.
        scores = particles[columns.ALIGNMENT_SCORE] + 2 * particles[columns.ALIGNMENT_KEPT]
        limits = fraction * particles[columns.EXTENT].to_numpy(np.float64)
        kept = suppress(positions, scores, limits, groups=tomograms, distance_of="stronger", ties="order")
        for tomogram in np.unique(tomograms):
            here = kept[tomograms[kept] == tomogram]
            lost = np.setdiff1d(np.flatnonzero(tomograms == tomogram), here)
            near = cKDTree(positions[here]).query_ball_point(positions[lost], max(limits[here].max(), 0.0))
            for row, found in zip(lost, near, strict=True):
                # `kept` begins with the best score.
                others = here[np.sort(found)]
                apart = np.linalg.norm(positions[others] - positions[row], axis=1)
                names[row] = particles[columns.PARTICLE].iloc[others[apart < limits[others]][0]]
    return particles.assign(**{columns.DOUBLE_OF: names})


def gather_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tables of particles, without the empty ones; without any particle the table has a name and a class."""
    filled = [table for table in tables if len(table)]
    nothing = pd.DataFrame(
        columns=[columns.PARTICLE, columns.TOMOGRAM, columns.CLASS, columns.DOUBLE_OF], dtype=object
    )
    return pd.concat(filled, ignore_index=True) if filled else nothing


def with_ctf_limits(particles: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which doubles have the limit 0, if averaged particles have one: no box was cut for them."""
    if columns.CTF_LIMIT not in particles:
        return particles
    return particles.assign(**{columns.CTF_LIMIT: particles[columns.CTF_LIMIT].fillna(0.0)})


def count_doubles(particles: pd.DataFrame) -> dict[int, int]:
    """Return the number of doubles by their cluster."""
    lost = particles[particles[columns.DOUBLE_OF] != columns.NO_DOUBLE]
    numbers, counts = np.unique(lost[columns.CLASS].to_numpy(np.int64), return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def without_doubles(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the particles of clusters that are not doubles of others."""
    return particles[
        (particles[columns.DOUBLE_OF] == columns.NO_DOUBLE) & (particles[columns.CLASS] != columns.UNASSIGNED)
    ]


def doubles_of(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the doubles as unassigned particles that are in no average."""
    lost = particles[particles[columns.DOUBLE_OF] != columns.NO_DOUBLE]
    lost = lost.assign(**{columns.CLASS: columns.UNASSIGNED, columns.ALIGNMENT_KEPT: 0})
    return lost.assign(**{columns.CLASS_NAME: columns.NO_CLASS}) if columns.CLASS_NAME in lost else lost
