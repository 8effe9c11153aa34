"""Particle tables of re-embedding: selection of particles, and the table for ArtiaX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.particles import pose_columns, poses_of_table
from cryopipe.reembedding.options import ReembeddingOptions

FloatArray = NDArray[np.float64]


def choose_particles(
    tables: Sequence[pd.DataFrame], tomogram: str, options: ReembeddingOptions
) -> pd.DataFrame:
    """Return the particles to place in one tomogram.

    Parameters
    ----------
    tables
        Particles of clusters, with poses.
    tomogram
        Name of the tomogram.
    options
        Whether particles that were excluded from their average are placed.
    """
    chosen = []
    for table in tables:
        if not len(table):
            continue
        here = (table[columns.TOMOGRAM].astype(str) == tomogram) & (
            table[columns.CLASS] != columns.UNASSIGNED
        )
        if options.particles == "kept" and columns.ALIGNMENT_KEPT in table:
            here &= table[columns.ALIGNMENT_KEPT] > 0
        chosen.append(table[here])
    names = [columns.TOMOGRAM, columns.PARTICLE, columns.CLASS, columns.VOXEL_SIZE]
    names += [*columns.COORDINATES, *columns.ANGLES, *columns.ORIGINS]
    filled = [table for table in chosen if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=names, dtype=float)


def artiax_table(table: pd.DataFrame, tomogram_numbers: Mapping[str, int]) -> pd.DataFrame:
    """Return particles in the form that the ChimeraX plug-in ArtiaX reads from a RELION STAR file.

    ArtiaX reads the number at the end of a tomogram's name and refuses names of other forms, so the tomograms are
    tomo_1, tomo_2, ... Coordinates are in voxels of the tomogram and include the shifts.

    Parameters
    ----------
    table
        Particles with poses.
    tomogram_numbers
        Number of every tomogram.
    """
    positions, rotations = poses_of_table(table)
    names = [f"tomo_{tomogram_numbers[name]}" for name in table[columns.TOMOGRAM].astype(str)]
    result = pd.DataFrame({columns.TOMOGRAM: pd.Series(names, dtype=str)})
    for axis, name in enumerate(columns.COORDINATES):
        result[name] = positions[:, axis]
    result = result.assign(**pose_columns(rotations, np.zeros((len(table), 3))))
    for name in (columns.CLASS, columns.ALIGNMENT_SCORE, columns.POSTERIOR, columns.PICK_SCORE):
        if name in table:
            result[name] = table[name].to_numpy()
    return result
