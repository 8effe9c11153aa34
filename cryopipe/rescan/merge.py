"""Picks of the next round: those of the round before, at better centres, and what the search has added."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe import columns
from cryopipe.particles import pick_table, positions_of_table
from cryopipe.rescan.scan import Hits
from cryopipe.tomograms import Tomogram
from cryopipe.volume.geometry import relion_angles

logger = logging.getLogger(__name__)

NEW_TEXT = "None"
"""Text columns of particles that the search added."""


def merge_rounds(
    picks: pd.DataFrame, located: pd.DataFrame, hits: Hits, tomogram: Tomogram, voxel_size: float
) -> pd.DataFrame:
    """Return one tomogram's picks of the next round.

    A found particle takes the name and the columns of the nearest pick within a radius, whose coordinates become those of
    the search; further picks within a radius are second picks of the same particle and are left out. A found particle
    without such a pick is added. Picks that no class explains are kept, those that were located at their new centres, and
    without the doubles.

    Parameters
    ----------
    picks
        Of the round before; see `cryopipe.particles.pick_table`.
    located
        Particles of its clusters at their centres, with doubles marked; may lack picks.
    hits
        What the search found, most significant first.
    tomogram
        Row of the tomogram table.
    voxel_size
        Of the tomogram, angstrom.

    Returns
    -------
    The picks, with the columns `ROUND`, `RESCAN_SCORE`, `RESCAN_CLASS` and `RESCAN_ANGLES`: those of the round before in
    their order, then the added ones, most significant first.
    """
    picks = picks.reset_index(drop=True)
    centred, doubles = _at_centres(picks, located)
    owners, second = _owners(centred, doubles, hits, voxel_size)
    coordinates = centred / voxel_size
    table = picks.assign(**_columns_of(len(picks)))
    explained = owners >= 0
    rows = owners[explained]
    coordinates[rows] = hits.positions[explained]
    table[list(columns.COORDINATES)] = coordinates
    values = _columns_of_hits(hits)
    for name, column in values.items():
        table.loc[rows, name] = column[explained]
    added = _added(picks, hits.select(~explained), tomogram, voxel_size)
    kept = table[~(second | (doubles & ~np.isin(np.arange(len(picks)), rows)))]
    logger.info(
        "%s: %d of %d picks explained by a class, %d second picks left out, %d particles added",
        *(tomogram.name, len(rows), len(picks), len(picks) - len(kept), len(added)),
    )
    return pd.concat([kept, added], ignore_index=True) if len(added) else kept.reset_index(drop=True)


def _at_centres(picks: pd.DataFrame, located: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the picks' positions (n, 3) x, y, z in angstrom, at their centres where located, and which are doubles."""
    positions, doubles = positions_of_table(picks), np.zeros(len(picks), bool)
    if len(located) and len(picks):
        place = pd.Series(np.arange(len(picks)), index=picks[columns.PARTICLE].astype(str))
        rows = place.reindex(located[columns.PARTICLE].astype(str)).to_numpy()
        here = np.isfinite(rows)
        chosen = rows[here].astype(int)
        positions[chosen] = positions_of_table(located)[here]
        doubles[chosen] = (located[columns.DOUBLE_OF].astype(str) != columns.NO_DOUBLE).to_numpy()[here]
    return positions, doubles


def _owners(
    positions: NDArray[np.float64], doubles: NDArray[np.bool_], hits: Hits, voxel_size: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the pick that each hit takes over, -1 for none, and (n,) which picks are second picks of a hit."""
    owners, second = np.full(len(hits), -1), np.zeros(len(positions), bool)
    if not len(positions) or not len(hits):
        return owners, second
    tree, taken = cKDTree(positions), np.zeros(len(positions), bool)
    places = hits.positions * voxel_size
    near = tree.query_ball_point(places, hits.radii)
    for number, found in enumerate(near):
        free = np.array([row for row in sorted(found) if not taken[row]], dtype=int)
        if len(free):
            distance = np.linalg.norm(positions[free] - places[number], axis=1)
            # of a double and the particle that is kept at its place, the latter
            owners[number] = free[np.lexsort((distance, doubles[free]))[0]]
            taken[owners[number]] = True
    for found in near:
        second[found] = True
    return owners, second & ~taken


def _columns_of(count: int) -> dict[str, NDArray[np.generic]]:
    """Return the columns of picks that no class explains."""
    return {
        columns.ROUND: np.ones(count, np.int64),
        columns.RESCAN_SCORE: np.zeros(count),
        columns.RESCAN_CLASS: np.full(count, columns.UNASSIGNED),
        **{name: np.zeros(count) for name in columns.RESCAN_ANGLES},
    }


def _columns_of_hits(hits: Hits) -> dict[str, NDArray[np.generic]]:
    angles = relion_angles(hits.rotations) if len(hits) else np.zeros((0, 3))
    return {
        columns.RESCAN_SCORE: hits.scores,
        columns.RESCAN_CLASS: hits.classes,
        **dict(zip(columns.RESCAN_ANGLES, angles.T, strict=True)),
    }


def _added(picks: pd.DataFrame, hits: Hits, tomogram: Tomogram, voxel_size: float) -> pd.DataFrame:
    """Return the rows of found particles without a pick; other columns of the picks are 0 or `NEW_TEXT` in them."""
    endings = [str(name).rpartition("/")[2] for name in picks[columns.PARTICLE]]
    last = max((int(ending) for ending in endings if ending.isdecimal()), default=0)
    score = float(picks[columns.PICK_SCORE].median()) if len(picks) else 0.0
    count = len(hits)
    table = pick_table(
        *(tomogram.name, tomogram.path, hits.positions, voxel_size),
        *(np.full(count, score), 2 * hits.radii),
    )
    table[columns.PARTICLE] = [f"{tomogram.name}/{last + number + 1}" for number in range(count)]
    table = table.assign(**{columns.ROUND: 2}, **_columns_of_hits(hits))
    for name in picks:
        if name not in table:
            table[name] = 0 if pd.api.types.is_numeric_dtype(picks[name]) else NEW_TEXT
    return table
