"""Export of particles to RELION 3.1, 4 and 5, Warp and M, Dynamo, and ArtiaX.

Every file is read back; deviations of more than 0.1 voxel or 0.1 degree are errors.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe.export.artiax import ArtiaxWriter
from cryopipe.export.dynamo_writer import DynamoWriter
from cryopipe.export.options import ExportOptions, TomogramRecord
from cryopipe.export.particle_set import ParticlePoses, ParticleSet, gather_particles, inside_tomograms
from cryopipe.export.preparation import export_context, tomogram_record
from cryopipe.export.relion3 import Relion3Writer
from cryopipe.export.relion5 import TiltSeriesWriter
from cryopipe.export.verification import verify
from cryopipe.export.warp import WarpWriter
from cryopipe.export.writer import ExportContext, Writer, Written, check_tomograms, under_exported_names
from cryopipe.files.ownership import replaced_files

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

WRITERS: dict[str, Writer] = {
    "relion": Relion3Writer(),
    "relion4": TiltSeriesWriter(4),
    "relion5": TiltSeriesWriter(5),
    "warp": WarpWriter(),
    "dynamo": DynamoWriter(),
    "artiax": ArtiaxWriter(),
}
"""The formats by name; each writes into a folder of that name."""

SUMMARY_COLUMNS = ["format", "file", "particles", "position_error", "angle_error", "outside"]


def export_particles(particles: ParticleSet, context: ExportContext, folder: Path) -> pd.DataFrame:
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

    Returns
    -------
    One row per file: format, file, particles, the largest position_error (voxels) and angle_error (degrees)
    found on reading it back, and outside, the number of particles left out of all files because they lie outside
    their tomogram.

    Raises
    ------
    DataError
        If something cannot be written, or a file read back differs from the particles.
    FileError
        If a user's file has the name of a file to be written.
    """
    check_tomograms(particles, context)
    particles, context = under_exported_names(particles, context)
    inside = inside_tomograms(
        particles, {name: record.shape_zyx for name, record in context.tomograms.items()}
    )
    outside = int((~inside).sum())
    if outside:
        logger.warning(
            "%d of %d particles lie outside their tomogram and are not exported", outside, len(particles)
        )
        particles = particles.select(np.flatnonzero(inside))
    summary = []
    for name in context.options.formats:
        with replaced_files(folder / name) as staging:
            rows = _write_verified(
                WRITERS[name], particles, replace(context, final_folder=folder / name), staging
            )
        summary += [(name, *row, outside) for row in rows]
        for file, count, *_ in rows:
            logger.info("%s: %s particles", file, count)
    return pd.DataFrame(summary, columns=SUMMARY_COLUMNS)


def _write_verified(
    writer: Writer, particles: ParticleSet, context: ExportContext, folder: Path
) -> list[tuple[str, int, float, float]]:
    """Write one format into `folder`; return its files, at their final places, with particles and errors."""
    rows = []
    for written in writer.write(particles, context, folder):
        meant = particles.select(written.rows)
        file = context.final(folder) / written.path.relative_to(folder)
        deviation = verify(file, meant, writer.read(written.path, context))
        rows.append((str(file), len(meant), round(deviation.position, 6), round(deviation.angle, 6)))
    return rows
