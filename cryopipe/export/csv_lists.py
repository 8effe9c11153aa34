"""Tables of particles as comma-separated text, for every program and for spreadsheets.

Reading accepts the columns tomogram, x, y and z (0-based voxels), optional angles by the names of their convention (rot,
tilt, psi of RELION; tdrot, tilt, narot of Dynamo; phi, psi, the of STOPGAP), cluster or class, and any others, which are
kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.dynamo_writer import rotation_from_dynamo_angles
from cryopipe.export.list_reading import find_tomograms, numbers_of, particle_set
from cryopipe.export.motive_lists import rotation_from_motive_angles
from cryopipe.export.particle_set import ParticleSet
from cryopipe.export.writer import ExportContext, Written, lists_of
from cryopipe.files.tables import read_csv, write_csv
from cryopipe.volume.geometry import relion_angles, rotation_from_relion_angles

POSITION = ("x", "y", "z")
NAMES = {
    "particle": columns.PARTICLE,
    "cluster": columns.CLASS,
    "class_name": columns.CLASS_NAME,
    "half_set": columns.HALF_SET,
    "score": columns.ALIGNMENT_SCORE,
    "pick_score": columns.PICK_SCORE,
    "posterior": columns.POSTERIOR,
    "diameter": columns.DIAMETER,
}
"""Columns of the files and of particle tables."""
_OTHER_SPELLINGS = {"tomo": "tomogram", "tomo_name": "tomogram", "class": "cluster", "theta": "the"}
_ANGLES = {
    ("rot", "tilt", "psi"): rotation_from_relion_angles,
    ("tdrot", "tilt", "narot"): rotation_from_dynamo_angles,
    ("phi", "psi", "the"): rotation_from_motive_angles,
}


class CsvFormat:
    """particles.csv and one table per cluster, every column; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the tables; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            path = folder / f"{name}.csv"
            write_csv(path, _table(particles.select(rows)))
            written.append(Written(path, rows))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a table; see `Writer`."""
        table = read_csv(path, ("tomogram", "tomo", "tomo_name", "particle", "class_name"))
        lowered = {str(name): str(name).lower() for name in table}
        shared = {*POSITION, "tomogram"}
        table = table.rename(columns={old: new for old, new in lowered.items() if new in shared})
        table = table.rename(columns={old: new for old, new in _OTHER_SPELLINGS.items() if new not in table})
        missing = [name for name in ("tomogram", *POSITION) if name not in table]
        if missing:
            raise DataError(
                f"has no column {missing[0]}",
                file=path,
                remedy="give the columns tomogram, x, y and z, and angles by the names of their convention",
            )
        tomograms, rows = find_tomograms(path, table["tomogram"].astype(str).tolist(), context)
        table = table.iloc[rows].reset_index(drop=True)
        places = context.in_voxels(numbers_of(path, table, POSITION), tomograms, 0)
        rotations, used = _rotations(path, table)
        left_out = ["tomogram", "voxel_size", *POSITION, *used]
        values = table.drop(columns=left_out, errors="ignore").rename(columns=NAMES)
        return particle_set(context, tomograms, places, rotations, dict(values))


def _rotations(path: Path, table: pd.DataFrame) -> tuple[Rotation | None, tuple[str, ...]]:
    for names, convert in _ANGLES.items():
        if set(names) <= set(table):
            return convert(numbers_of(path, table, names)), names
    return None, ()


def _table(particles: ParticleSet) -> pd.DataFrame:
    table = pd.DataFrame({"tomogram": pd.Series(particles.tomograms, dtype=str)})
    for axis, name in enumerate(POSITION):
        table[name] = particles.positions[:, axis]
    angles = relion_angles(particles.rotations) if len(particles) else np.zeros((0, 3))
    for axis, name in enumerate(("rot", "tilt", "psi")):
        table[name] = angles[:, axis]
    table["voxel_size"] = particles.voxel_sizes
    for name, column in NAMES.items():
        if column in particles.table:
            table[name] = particles.table[column].to_numpy()
    known = {columns.TOMOGRAM, columns.MICROGRAPH, columns.VOXEL_SIZE, *NAMES.values()}
    known |= {*columns.COORDINATES, *columns.ANGLES, *columns.ORIGINS}
    for other in particles.table:
        if other not in known:
            table[str(other)] = particles.table[other].to_numpy()
    return table
