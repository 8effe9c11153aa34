"""Export to RELION 4 and 5: particles in coordinates of the unbinned tomogram, tomograms and optimisation set.

RELION 5 counts positions in angstrom from the tomogram's centre N / 2 (`rlnCenteredCoordinate*Angst`), RELION 4 in
unbinned pixels from voxel 0 (`rlnCoordinate*`). Positions include the shifts, so that the origins are 0.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.export.particle_set import FloatArray, ParticlePoses, ParticleSet
from cryopipe.export.tilt_series_files import add_tilt_series
from cryopipe.export.unbinned import Frames, frames_of, read_frames
from cryopipe.export.writer import ExportContext, Written, rows_in_clusters
from cryopipe.files.names import absolute_name
from cryopipe.files.star import read_star, write_particles, write_star
from cryopipe.particles import rotations_of_table
from cryopipe.volume.geometry import relion_angles

CENTRED = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
OPTICS = "rlnOpticsGroup"
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


class TiltSeriesWriter:
    """Writer of particles.star, tomograms.star (unless a RELION project has one) and optimisation_set.star.

    RELION 5 also gets `import.star`, a list of coordinate files per tomogram for its import job.
    Noise is left out.

    Parameters
    ----------
    version
        4 or 5.
    """

    def __init__(self, version: int) -> None:
        self.version = version

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the project's files; see `Writer`."""
        rows = rows_in_clusters(particles)
        chosen = particles.select(rows)
        frames = frames_of(particles, context)
        table, optics = self._tables(chosen, frames, context)
        path, final = folder / "particles.star", context.final(folder)
        write_particles(path, table, optics)
        written = [Written(path, rows)]
        project = context.options.relion_tomograms
        if not project:
            tomograms = _tomograms_table(frames, context, final)
            if self.version == 5:
                tomograms = add_tilt_series(tomograms, frames, context, folder)
            write_star(folder / "tomograms.star", {"global": tomograms})
        # Paths are relative to the project's directory: this folder, or that of the RELION project.
        write_star(
            folder / "optimisation_set.star",
            {
                "": {
                    "rlnTomoParticlesFile": absolute_name(final / path.name) if project else path.name,
                    "rlnTomoTomogramsFile": absolute_name(project) if project else "tomograms.star",
                }
            },
        )
        if self.version == 5:
            written += _write_import_list(table, rows, folder, final if project else None)
        return written

    def read(self, path: Path, context: ExportContext) -> ParticlePoses:
        """Read particles back by RELION's rules, with the frames of the tomograms file beside them."""
        table = read_star(path)["particles"]
        tomograms = table[columns.TOMOGRAM].tolist()
        project = context.options.relion_tomograms
        beside = path.parent if path.name == "particles.star" else path.parent.parent
        # Its sizes are compared with the tomograms' own: what is meant was computed with the same numbers.
        names = list(dict.fromkeys(tomograms))
        frames = read_frames(project or beside / "tomograms.star", names, context)
        coordinates = CENTRED if self.version == 5 else columns.COORDINATES
        unbinned = table[list(coordinates)].to_numpy(dtype=np.float64)
        if self.version == 5:
            pixel_sizes = frames.pixel_sizes[frames.rows_of(tomograms)]
            unbinned = unbinned / pixel_sizes[:, None] + frames.centres(tomograms)
        rotations = rotations_of_table(table)
        return ParticlePoses(tomograms, frames.from_unbinned(tomograms, unbinned), rotations)

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
                "rlnTomoTiltSeriesPixelSize": np.array(distinct, dtype=np.float64),
            }
        )
        return table, optics


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
    table["rlnTomoTiltSeriesPixelSize"] = frames.pixel_sizes
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
