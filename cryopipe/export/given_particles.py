"""Particles made elsewhere as picks: read once for all tomograms, and handed on per tomogram."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.format_register import detect_format, read_particle_list
from cryopipe.export.list_reading import scores_of
from cryopipe.export.particle_set import FloatArray, ParticleSet, inside_tomograms
from cryopipe.export.writer import ExportContext, under_exported_records
from cryopipe.particle_formats import FORMATS
from cryopipe.particles import pick_table

logger = logging.getLogger(__name__)

_OF_LATER_STAGES = {
    *(columns.TOMOGRAM, columns.MICROGRAPH, columns.PARTICLE, *columns.COORDINATES, *columns.ANGLES),
    *(*columns.ORIGINS, columns.CLASS, columns.CLASS_NAME, columns.HALF_SET, columns.VOXEL_SIZE),
    *(columns.PICK_SCORE, columns.DIAMETER, columns.POSTERIOR, columns.LABEL, columns.TEMPLATE_SCORE),
    *(*columns.TEMPLATE_ANGLES, *columns.TEMPLATE_ORIGINS, columns.ALIGNMENT_SCORE, columns.ALIGNMENT_KEPT),
    *(columns.EXTENT, columns.DOUBLE_OF, columns.CTF_LIMIT),
}
"""Columns of a file that picks have already, or that later stages write."""


def read_given_particles(
    path: str | os.PathLike[str], context: ExportContext, diameter: float
) -> pd.DataFrame:
    """Read particles of any format as picks of all tomograms.

    Parameters
    ----------
    path
        File or folder; its format is recognised.
    context
        The tomograms, by their names in the tomogram table.
    diameter
        Of particles without one, angstrom.

    Returns
    -------
    One row per particle inside its tomogram, sorted by tomogram, with the columns of picks, the particles' names if they
    are cryopipe's (TOMOGRAM/NUMBER), the class as
    `cryopipeGivenClass` (its name if it has one, else its number; of a search with averages the class that found the
    particle), the angles, if the file has them, as
    `cryopipeGivenRot`, `cryopipeGivenTilt`, `cryopipeGivenPsi`, and the file's other columns.

    Raises
    ------
    FileError, DataError
        If the file cannot be read, or no particle is inside a tomogram of the table.
    """
    source = Path(path)
    name = detect_format(source)
    exported = under_exported_records(context)
    own = dict(zip(exported.tomograms, context.tomograms, strict=True))
    particles = read_particle_list(source, name, exported)
    inside = inside_tomograms(
        particles, {one: record.shape_zyx for one, record in exported.tomograms.items()}
    )
    if not inside.any():
        raise DataError(
            f"none of {len(particles)} particles lies inside its tomogram",
            file=path,
            remedy="check the voxel sizes of the tomograms, or convert the file with cryopipe convert, which states "
            "the ranges and takes other conventions",
        )
    if not inside.all():
        logger.warning(
            "%s: %d of %d particles lie outside their tomogram", path, (~inside).sum(), len(inside)
        )
    particles = particles.select(np.flatnonzero(inside))
    names = [own[tomogram] for tomogram in particles.tomograms]
    table = _picks(particles, names, context, diameter).assign(**_kept_columns(particles, name))
    missing = [tomogram for tomogram in context.tomograms if tomogram not in set(names)]
    if missing:
        logger.warning("%s: no particles of %d tomograms: %s", path, len(missing), ", ".join(missing[:10]))
    logger.info("%s: %d particles, read as %s (%s)", path, len(table), name, FORMATS[name].program)
    return table


def _picks(particles: ParticleSet, names: list[str], context: ExportContext, diameter: float) -> pd.DataFrame:
    """Return the particles in the form of picks, in the order of the tomogram table, best scores first."""
    scores = scores_of(particles)
    known = particles.table.get(columns.DIAMETER, pd.Series(np.nan, index=particles.table.index))
    diameters: FloatArray = np.asarray(known.where(known > 0, diameter), dtype=np.float64)
    parts = []
    places = pd.Series(names, dtype=object).groupby(names).indices
    for tomogram, record in context.tomograms.items():
        here = np.asarray(places.get(tomogram, ()), dtype=np.int64)
        rows = here[np.argsort(-scores[here], kind="stable")]
        found = pick_table(
            tomogram, record.path, particles.positions[rows], record.voxel_size, scores[rows], diameters[rows]
        )
        parts.append(found.set_index(rows))
    return _with_own_names(pd.concat(parts), particles)


def _with_own_names(picks: pd.DataFrame, particles: ParticleSet) -> pd.DataFrame:
    """Return the picks with the names of the file, if each is unique and of cryopipe's form TOMOGRAM/NUMBER."""
    if columns.PARTICLE not in particles.table:
        return picks
    names = particles.table[columns.PARTICLE].loc[picks.index].astype(str)
    folders, numbers = names.str.rpartition("/")[0], names.str.rpartition("/")[2]
    ours = (folders == picks[columns.TOMOGRAM].astype(str)).all() and numbers.str.fullmatch(r"[0-9]+").all()
    return picks.assign(**{columns.PARTICLE: names}) if ours and names.is_unique else picks


def _kept_columns(particles: ParticleSet, name: str) -> dict[str, pd.Series]:
    """Return the class, the angles and the other columns of a file, as columns of picks, by row of the particles."""
    table = particles.table
    searched = columns.RESCAN_CLASS in table and columns.POSTERIOR not in table
    numbers = table[columns.RESCAN_CLASS if searched else columns.CLASS].astype(str)
    classes = table.get(columns.CLASS_NAME, pd.Series("", index=table.index)).fillna("").astype(str)
    kept = {columns.GIVEN_CLASS: classes.where(classes != "", numbers)}
    if FORMATS[name].angles and particles.rotations.magnitude().max() > 0:
        kept |= {given: table[own] for given, own in zip(columns.GIVEN_ANGLES, columns.ANGLES, strict=True)}
    for column in table:
        if column in _OF_LATER_STAGES:
            continue
        values = table[column]
        if values.isna().any() or (values.dtype.kind == "f" and not np.isfinite(values).all()):
            logger.warning("the column %s has values that are missing or not finite and is left out", column)
            continue
        kept[re.sub(r"[\s#'\"]+", "_", str(column))] = values
    return kept
