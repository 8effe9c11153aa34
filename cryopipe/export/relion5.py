"""Export to RELION 4 and 5: particles in coordinates of the unbinned tomogram, tomograms and optimisation set.

RELION 5 counts positions in angstrom from the tomogram's centre N / 2 (`rlnCenteredCoordinate*Angst`), RELION 4 in
unbinned pixels from voxel 0 (`rlnCoordinate*`). Positions include the shifts, so that the origins are 0.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.list_reading import find_tomograms, numbers_of, particle_set
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.tilt_series_files import add_matrices, add_tilt_series
from cryopipe.export.unbinned import Frames, frames_of, frames_of_tomograms, read_frames
from cryopipe.export.writer import ExportContext, Written, lists_of, rows_in_clusters
from cryopipe.files.names import absolute_name
from cryopipe.files.star import read_star, write_particles, write_star
from cryopipe.particles import rotations_of_table, shifts_of_table
from cryopipe.volume.geometry import relion_angles, rotation_from_relion_angles

logger = logging.getLogger(__name__)

CENTRED = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
SUBTOMOGRAM_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
"""Angles of the boxes, to which the particles' angles and origins are relative."""
OPTICS = "rlnOpticsGroup"
PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
TOMOGRAMS_FILE = "rlnTomoTomogramsFile"
KEPT_COLUMNS = (
    columns.PARTICLE,
    columns.HALF_SET,
    columns.CLASS,
    columns.CLASS_NAME,
    columns.PICK_SCORE,
    columns.POSTERIOR,
    columns.ALIGNMENT_SCORE,
    columns.ALIGNMENT_KEPT,
)


class TiltSeriesFormat:
    """particles.star, tomograms.star (unless a RELION project has one) and optimisation_set.star.

    Each cluster has files of its own, `cluster_NN.star` and `cluster_NN_optimisation_set.star`. RELION 5 also gets
    `import.star`, a list of coordinate files per tomogram for its import job. Noise is left out.

    Parameters
    ----------
    version
        4 or 5.
    """

    def __init__(self, version: int) -> None:
        self.version = version

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the project's files; see `Writer`."""
        frames = frames_of(particles.select(rows_in_clusters(particles)), context)
        final, project = context.final(folder), context.options.relion_tomograms
        written = []
        for name, rows in lists_of(particles).items():
            table, optics = self._tables(particles.select(rows), frames, context)
            path = folder / f"{name}.star"
            write_particles(path, table, optics)
            written.append(Written(path, rows))
            # Paths are relative to the project's directory: this folder, or that of the RELION project.
            pointers = {
                "rlnTomoParticlesFile": absolute_name(final / path.name) if project else path.name,
                TOMOGRAMS_FILE: absolute_name(project) if project else "tomograms.star",
            }
            before = "" if name == "particles" else f"{name}_"
            write_star(folder / f"{before}optimisation_set.star", {"": pointers})
            if self.version == 5 and name == "particles":
                written += _write_import_list(table, rows, folder, final if project else None)
        if not project:
            tomograms = _tomograms_table(frames, context, final)
            tables: dict[str, pd.DataFrame] = {}
            if self.version == 5:
                tomograms = add_tilt_series(tomograms, frames, context, folder)
            else:
                tomograms, tables = add_matrices(tomograms, frames, context)
            write_star(folder / "tomograms.star", {"global": tomograms, **tables})
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read particles by RELION's rules; see `Writer`.

        The unbinned sizes are those of the project of the options, or of the tomograms file beside the particles or
        named by an optimisation set beside them; without any, those of the options.
        """
        blocks = read_star(path)
        table = blocks.get("particles", next(iter(blocks.values())))
        coordinates = CENTRED if CENTRED[0] in table else columns.COORDINATES
        missing = [name for name in (columns.TOMOGRAM, *coordinates) if name not in table]
        if missing:
            raise DataError(
                f"has no column {missing[0]}",
                file=path,
                remedy="give a STAR file of particles of RELION 4 or 5",
            )
        tomograms, rows = find_tomograms(path, table[columns.TOMOGRAM].astype(str).tolist(), context)
        table = table.iloc[rows].reset_index(drop=True)
        frames = _frames_for(path, list(dict.fromkeys(tomograms)), blocks.get("optics"), context)
        unbinned = numbers_of(path, table, coordinates)
        poses = [name for name in (*columns.ORIGINS, *columns.ANGLES) if name in table]
        table[poses] = numbers_of(path, table, poses)
        pixel_sizes = frames.pixel_sizes[frames.rows_of(tomograms)][:, None]
        if coordinates == CENTRED:
            unbinned = unbinned / pixel_sizes + frames.centres(tomograms)
        rotations = rotations_of_table(table) if set(columns.ANGLES) <= set(table) else None
        shifts = shifts_of_table(table)
        if set(SUBTOMOGRAM_ANGLES) <= set(table) and len(table):
            boxes = rotation_from_relion_angles(table[list(SUBTOMOGRAM_ANGLES)].to_numpy(dtype=np.float64))
            rotations = boxes if rotations is None else boxes * rotations
            shifts = boxes.apply(shifts)
        positions = frames.from_unbinned(tomograms, unbinned + shifts / pixel_sizes)
        left_out = [*coordinates, *columns.ORIGINS, *SUBTOMOGRAM_ANGLES, OPTICS, "rlnImageName"]
        values = dict(table.drop(columns=left_out, errors="ignore"))
        return particle_set(context, tomograms, positions, rotations, values)

    def _tables(
        self, particles: ParticleSet, frames: Frames, context: ExportContext
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        tomograms = particles.tomograms
        coordinates = frames.to_unbinned(tomograms, particles.positions)
        distinct = sorted(set(np.round(frames.pixel_sizes, 6)))
        pixel_sizes = frames.pixel_sizes[frames.rows_of(tomograms)]
        names = columns.COORDINATES
        if self.version == 5:
            coordinates = (coordinates - frames.centres(tomograms)) * pixel_sizes[:, None]
            names = CENTRED
        table = pd.DataFrame({columns.TOMOGRAM: pd.Series(tomograms, dtype=str)})
        _add_vectors(table, names, coordinates)
        _add_vectors(table, columns.ANGLES, _angles(particles))
        _add_vectors(table, columns.ORIGINS, np.zeros((len(particles), 3)))
        table[OPTICS] = np.searchsorted(distinct, np.round(pixel_sizes, 6)) + 1
        for name in KEPT_COLUMNS:
            if name in particles.table:
                table[name] = particles.table[name].to_numpy()
        optics = pd.DataFrame(
            {
                OPTICS: np.arange(1, len(distinct) + 1),
                "rlnOpticsGroupName": [f"opticsGroup{i + 1}" for i in range(len(distinct))],
                "rlnVoltage": float(context.microscope.voltage),
                "rlnSphericalAberration": float(context.microscope.spherical_aberration),
                "rlnAmplitudeContrast": float(context.microscope.amplitude_contrast),
                PIXEL_SIZE: np.array(distinct, dtype=np.float64),
            }
        )
        return table, optics


def _frames_for(path: Path, names: list[str], optics: pd.DataFrame | None, context: ExportContext) -> Frames:
    """Return the unbinned frames to which the positions in a file of particles refer."""
    given = context.options.relion_tomograms or _tomograms_beside(path)
    if given is not None:
        return read_frames(given, names, context)
    pixel_size = None
    if optics is not None and PIXEL_SIZE in optics and optics[PIXEL_SIZE].nunique() == 1:
        pixel_size = float(optics[PIXEL_SIZE].iloc[0])
    logger.info("%s: no tomograms.star is known; unbinned sizes are the tomograms' times their binning", path)
    return frames_of_tomograms(names, context, pixel_size)


def _tomograms_beside(path: Path) -> Path | None:
    """Return the tomograms.star beside a file, above it, or named by the optimisation set beside it."""
    folders = path.parent.parents
    for folder in (path.parent, path.parent.parent) if path.parent.name == "coordinates" else (path.parent,):
        if (folder / "tomograms.star").is_file():
            return folder / "tomograms.star"
    for pointers in sorted(path.parent.glob("*optimisation_set.star")):
        block = next(iter(read_star(pointers).values()))
        if TOMOGRAMS_FILE in block and len(block):
            named = str(block[TOMOGRAMS_FILE].iloc[0])
            for folder in (path.parent, *folders):
                if (folder / named).is_file():
                    return folder / named
    return None


def _angles(particles: ParticleSet) -> FloatArray:
    return relion_angles(particles.rotations) if len(particles) else np.zeros((0, 3))


def _add_vectors(table: pd.DataFrame, names: tuple[str, ...], values: FloatArray) -> None:
    for axis, name in enumerate(names):
        table[name] = values[:, axis]


def _tomograms_table(frames: Frames, context: ExportContext, folder: Path) -> pd.DataFrame:
    """Return the table of the tomograms, without the tilt series."""
    microscope = context.microscope
    distinct = sorted(set(np.round(frames.pixel_sizes, 6)))
    groups = np.searchsorted(distinct, np.round(frames.pixel_sizes, 6)) + 1
    table = pd.DataFrame({columns.TOMOGRAM: pd.Series(frames.names, dtype=str)})
    table["rlnVoltage"] = float(microscope.voltage)
    table["rlnSphericalAberration"] = float(microscope.spherical_aberration)
    table["rlnAmplitudeContrast"] = float(microscope.amplitude_contrast)
    table["rlnMicrographOriginalPixelSize"] = frames.pixel_sizes
    table["rlnTomoHand"] = float(context.options.tilt_hand)
    table["rlnOpticsGroupName"] = [f"opticsGroup{group}" for group in groups]
    table[PIXEL_SIZE] = frames.pixel_sizes
    table["rlnTomoTomogramBinning"] = frames.binnings
    for axis, name in enumerate(("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")):
        table[name] = frames.sizes[:, axis].astype(np.int64)
    paths = [os.path.relpath(context.tomograms[name].path, folder) for name in frames.names]
    table["rlnTomoReconstructedTomogram"] = pd.Series(paths, dtype=str)
    return table


def _write_import_list(
    table: pd.DataFrame, rows: np.ndarray, folder: Path, final: Path | None
) -> list[Written]:
    """Write one coordinate file per tomogram and their list for RELION 5's import job, absolute if `final` is given."""
    written, files = [], []
    names = list(dict.fromkeys(table[columns.TOMOGRAM]))
    places = table.groupby(columns.TOMOGRAM).indices
    for name in names:
        mine = places[name]
        file = f"coordinates/{name}.star"
        path = folder / file
        write_particles(path, table.iloc[mine][[columns.TOMOGRAM, *CENTRED, *columns.ANGLES]])
        written.append(Written(path, rows[mine]))
        files.append(absolute_name(final / file) if final else file)
    listed = pd.DataFrame({columns.TOMOGRAM: pd.Series(names, dtype=str)})
    listed["rlnTomoImportParticleFile"] = pd.Series(files, dtype=str)
    write_star(folder / "import.star", {"particles": listed})
    return written
