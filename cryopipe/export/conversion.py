"""Conversion of particle lists from any format to any other, with a check and a read-back."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export import without_outside, write_verified
from cryopipe.export.format_register import detect_format, read_particle_list
from cryopipe.export.particle_set import ParticleSet
from cryopipe.export.plausibility import doubts, outside_counts
from cryopipe.export.writer import ExportContext, by_tomogram
from cryopipe.files.ownership import replaced_files
from cryopipe.particle_formats import FORMATS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversion:
    """What was read, found and written.

    Attributes
    ----------
    source
        The format of the particles.
    particles
        As they were read; names of tomograms are those of other programs.
    warnings
        Sentences about particles outside and other conventions.
    files
        File, particles, largest position error (voxels) and angle error (degrees) on reading it back.
    """

    source: str
    particles: ParticleSet
    warnings: list[str]
    files: list[tuple[str, int, float, float]]


def convert_particles(
    source: Path, folder: Path, formats: tuple[str, str], context: ExportContext
) -> Conversion:
    """Read particles of one format and write them in another; every written file is read back.

    Parameters
    ----------
    source
        File, or folder of files, of particles.
    folder
        Folder for the files; only files that cryopipe wrote are replaced.
    formats
        Of the source, blank to recognise it, and of the files to write.
    context
        Tomograms, by their names in other programs, options and conventions of the source.

    Raises
    ------
    FileError, DataError
        If the source cannot be read, something cannot be written, or a file read back differs.
    """
    read_as = formats[0] or detect_format(source)
    stated = context.conventions
    if FORMATS[read_as].first_voxel is None and (stated.first_voxel, stated.pixel_size) != (None, None):
        raise DataError(
            f"is read as {read_as}, whose positions do not count voxels of a tomogram",
            file=source,
            remedy="leave out --first-voxel and --pixel-size",
        )
    particles = with_classes(read_particle_list(source, read_as, context))
    warnings = [
        f"{count} particles lie outside tomogram {name} and are not written"
        for name, count in outside_counts(particles, context).items()
    ]
    unassigned = int((particles.clusters == columns.UNASSIGNED).sum())
    if unassigned:
        warnings.append(f"{unassigned} particles of class 0 are unassigned and are not written")
    if FORMATS[read_as].angles and not FORMATS[formats[1]].angles:
        warnings.append(f"files for {FORMATS[formats[1]].program} hold no angles")
    warnings += doubts(particles, context)
    inside, _ = without_outside(particles, context)
    with replaced_files(folder) as staging:
        files = write_verified(formats[1], inside, replace(context, final_folder=folder), staging)
    return Conversion(read_as, particles, warnings, files)


def with_classes(particles: ParticleSet) -> ParticleSet:
    """Return the particles; in class 1 if none has a class."""
    if len(particles) and (particles.clusters == columns.UNASSIGNED).all():
        return replace(particles, table=particles.table.assign(**{columns.CLASS: 1}))
    return particles


def report(conversion: Conversion, context: ExportContext, target: str) -> str:
    """Return the check of a conversion as text: counts, ranges, warnings and the files with their errors."""
    particles = conversion.particles
    classes = Counter(particles.clusters.tolist())
    counts = ", ".join(f"class {number}: {count}" for number, count in sorted(classes.items()))
    read = FORMATS[conversion.source]
    lines = [f"read as {conversion.source} ({read.program}): {len(particles)} particles; {counts}"]
    for name, rows in by_tomogram(particles, np.arange(len(particles))).items():
        low, high = particles.positions[rows].min(axis=0), particles.positions[rows].max(axis=0)
        size = context.tomograms[name].shape_zyx[::-1]
        ranges = ", ".join(
            f"{axis} {low[i]:.1f} to {high[i]:.1f} of {size[i]}" for i, axis in enumerate("xyz")
        )
        lines.append(f"{name}: {len(rows)} particles, voxels {ranges}")
    missing = [name for name in context.tomograms if name not in set(particles.tomograms)]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        lines.append(f"tomograms without particles: {', '.join(missing[:5])}{more}")
    lines += [f"warning: {text}" for text in conversion.warnings]
    lines.append(f"written as {target} ({FORMATS[target].program}) and read back:")
    for file, count, position, angle in conversion.files:
        angles = f", {angle:.2g} degrees" if FORMATS[target].angles else ", no angles"
        lines.append(f"  {file}: {count} particles, largest error {position:.2g} voxels{angles}")
    return "\n".join(lines)
