"""Particle lists of other programs: export, conversion and reading, in the formats of `cryopipe.particle_formats`.

Every file is read back; deviations of more than 0.1 voxel or 0.1 degree are errors.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.curation.apply import ACCEPTED
from cryopipe.errors import DataError
from cryopipe.export.format_register import WRITERS
from cryopipe.export.options import ExportOptions, TomogramRecord
from cryopipe.export.particle_set import ParticlePoses, ParticleSet, gather_particles, inside_tomograms
from cryopipe.export.preparation import export_context, tomogram_record
from cryopipe.export.verification import verify
from cryopipe.export.writer import (
    Conventions,
    ExportContext,
    Writer,
    Written,
    check_tomograms,
    under_exported_names,
)
from cryopipe.files.ownership import replaced_files
from cryopipe.particle_formats import FORMATS

__all__ = [
    "WRITERS",
    "ExportContext",
    "ExportOptions",
    "ParticlePoses",
    "ParticleSet",
    "TomogramRecord",
    "Writer",
    "Written",
    "export_context",
    "export_particles",
    "gather_particles",
    "tomogram_record",
]

logger = logging.getLogger(__name__)

SUMMARY_COLUMNS = ["format", "file", "particles", "position_error", "angle_error", "outside"]


def export_particles(
    particles: ParticleSet,
    context: ExportContext,
    folder: Path,
    recognised: Collection[int] | None = None,
) -> pd.DataFrame:
    """Write the particles in every format of the options, and verify each file.

    Particles outside their tomogram, for example after a shift beyond one of its faces, are not exported. The files of a
    format are moved to `folder` after all of them are verified; only files that cryopipe wrote are replaced or removed.

    Parameters
    ----------
    particles
        All particles, noise too; see `gather_particles`.
    context
        Tomograms, microscope and options.
    folder
        Folder for the formats, each in a subfolder of its name.
    recognised
        The clusters that the option `clusters: recognised` exports; None, if there are no verdicts, for all.

    Returns
    -------
    One row per file: format, file, particles, the largest position_error (voxels) and angle_error (degrees; 0 for
    formats without angles) found on reading it back, and outside, the number of particles left out of all files because they lie outside
    their tomogram.

    Raises
    ------
    DataError
        If something cannot be written, or a file read back differs from the particles.
    FileError
        If a user's file has the name of a file to be written.
    """
    check_tomograms(particles, context)
    particles = choose_clusters(particles, context.options.clusters, recognised)
    particles, context = under_exported_names(particles, context)
    particles, outside = without_outside(particles, context)
    summary = []
    for name in context.options.formats:
        with replaced_files(folder / name) as staging:
            rows = write_verified(name, particles, replace(context, final_folder=folder / name), staging)
        summary += [(name, *row, outside) for row in rows]
        for file, count, *_ in rows:
            logger.info("%s: %s particles", file, count)
    return pd.DataFrame(summary, columns=SUMMARY_COLUMNS)


def choose_clusters(
    particles: ParticleSet, clusters: str | Sequence[int], recognised: Collection[int] | None
) -> ParticleSet:
    """Return the particles of the clusters to export, by the option `clusters`.

    With `recognised`, clusters that the user accepted or named are exported, too, and all clusters if there are none;
    unassigned particles are kept, for formats that have a file for them.

    Raises
    ------
    DataError
        If a number is not that of a cluster with particles.
    """
    if clusters == "all" or (isinstance(clusters, str) and recognised is None):
        return particles
    present = set(particles.clusters.tolist()) - {columns.UNASSIGNED}
    if isinstance(clusters, str):
        wanted = (set(recognised or ()) | _decided_clusters(particles)) & present
        if not wanted:
            logger.warning("no cluster is recognised, so all are exported: see the verdicts in the report")
            return particles
        if present - wanted:
            logger.warning(
                "not exported, by their verdicts in the report: clusters %s (export: clusters)",
                ", ".join(map(str, sorted(present - wanted))),
            )
        return particles.select(np.flatnonzero(np.isin(particles.clusters, [*wanted, columns.UNASSIGNED])))
    wanted = set(clusters)
    if wanted - present:
        raise DataError(
            f"cluster {min(wanted - present)} has no particles; the clusters are {sorted(present)}",
            remedy="correct the option clusters of the section export",
        )
    logger.info("exporting %d of %d clusters: %s", len(wanted), len(present), sorted(wanted))
    return particles.select(np.flatnonzero(np.isin(particles.clusters, sorted(wanted))))


def _decided_clusters(particles: ParticleSet) -> set[int]:
    """Return the clusters that the user accepted or named."""
    table, decided = particles.table, np.zeros(len(particles), dtype=bool)
    if columns.DECISION in table:
        decided |= (table[columns.DECISION] == ACCEPTED).to_numpy()
    if columns.CLASS_NAME in table:
        decided |= ~table[columns.CLASS_NAME].isin([columns.NO_CLASS, ""]).to_numpy()
    return set(particles.clusters[decided].tolist())


def without_outside(particles: ParticleSet, context: ExportContext) -> tuple[ParticleSet, int]:
    """Return the particles inside their tomograms, and the number of the others, which is reported."""
    shapes = {name: record.shape_zyx for name, record in context.tomograms.items()}
    inside = inside_tomograms(particles, shapes)
    outside = int((~inside).sum())
    if not outside:
        return particles, 0
    logger.warning(
        "%d of %d particles lie outside their tomogram and are not exported", outside, len(particles)
    )
    return particles.select(np.flatnonzero(inside)), outside


def write_verified(
    name: str, particles: ParticleSet, context: ExportContext, folder: Path
) -> list[tuple[str, int, float, float]]:
    """Write one format into `folder`; return its files, at their final places, with particles and errors.

    Raises
    ------
    DataError
        If something cannot be written, or a file read back differs from the particles.
    """
    rows = []
    for written in WRITERS[name].write(particles, context, folder):
        meant = particles.select(written.rows)
        file = context.final(folder) / written.path.relative_to(folder)
        found = WRITERS[name].read(written.path, replace(context, conventions=Conventions()))
        deviation = verify(file, meant, found, angles=FORMATS[name].angles)
        rows.append((str(file), len(meant), round(deviation.position, 6), round(deviation.angle, 6)))
    return rows
