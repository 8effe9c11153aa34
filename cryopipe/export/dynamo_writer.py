"""Export to Dynamo: a table of numbers, and the list of the tomograms that its column 20 numbers.

Dynamo counts a volume's continuous coordinates from the outer corner of its first voxel, so that voxel i
(from 0) has its centre at i + 0.5 (https://wiki.dynamo.biozentrum.unibas.ch, "Volume center"). Its
angles rotate the template clockwise about z, the new x and the new z, so that the active rotation is
Rz(-tdrot) Rx(-tilt) Rz(-narot) (same place, "Euler angles convention").
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.list_reading import find_tomograms, particle_set, tomograms_by_number
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext, Written, lists_of
from cryopipe.files.atomic import write_text
from cryopipe.files.dynamo_table import read_dynamo_table, write_dynamo_table
from cryopipe.files.names import absolute_name

COLUMN_COUNT = 36
TAG, ALIGNED, AVERAGED, SCORE, WEDGE_TYPE, TOMOGRAM, CLASS, VOXEL_SIZE = 0, 1, 2, 9, 12, 19, 21, 35
SHIFTS, ANGLES, TILT_RANGE, COORDINATES = slice(3, 6), slice(6, 9), slice(13, 15), slice(23, 26)
TILT_ABOUT_Y, TILT_ABOUT_X = 1, 2
HALF_VOXEL = 0.5


class DynamoFormat:
    """particles.tbl, one table per cluster, and tomograms.doc; noise is left out."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write tables and tomogram list; see `Writer`."""
        written, lists = [], lists_of(particles)
        for name, rows in lists.items():
            path = folder / f"{name}.tbl"
            write_dynamo_table(path, _table(particles.select(rows), context))
            written.append(Written(path, rows))
        used = {particles.tomograms[row] for row in lists["particles"]}
        lines = []
        for name, record in context.tomograms.items():
            if name in used:
                if not record.path.isprintable():
                    raise DataError(
                        "the path contains control characters", file=record.path, remedy="rename it"
                    )
                lines.append(f"{context.number_of(name)} {absolute_name(record.path)}\n")
        write_text(folder / "tomograms.doc", "".join(lines))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a table by Dynamo's rules; see `Writer`."""
        values = read_dynamo_table(path)
        if not len(values):
            values = values.reshape(0, COLUMN_COUNT)
        if values.shape[1] < COORDINATES.stop:
            raise DataError(
                f"has {values.shape[1]} columns instead of at least {COORDINATES.stop}",
                file=path,
                remedy="give a table of particles cropped from tomograms",
            )
        names, rows = find_tomograms(path, tomograms_by_number(path, values[:, TOMOGRAM], context), context)
        values = values[rows]
        positions = context.in_voxels(values[:, COORDINATES] + values[:, SHIFTS], names, HALF_VOXEL)
        rotations = rotation_from_dynamo_angles(values[:, ANGLES])
        found = {columns.CLASS: values[:, CLASS], columns.ALIGNMENT_SCORE: values[:, SCORE]}
        return particle_set(context, names, positions, rotations, found)


def dynamo_angles(rotations: Rotation) -> FloatArray:
    """Return (n, 3) tdrot, tilt, narot in degrees of n active rotations, reference to particle."""
    with warnings.catch_warnings():
        # At tilt 0 or 180 only a sum of angles matters; scipy then sets one of them to 0 and warns.
        warnings.filterwarnings("ignore", message="Gimbal lock", category=UserWarning)
        return -np.asarray(rotations.as_euler("ZXZ", degrees=True), dtype=np.float64)


def rotation_from_dynamo_angles(angles: FloatArray) -> Rotation:
    """Return the inverse of `dynamo_angles`, as the product of its three elementary rotations."""
    about_z, about_x, about_new_z = (
        Rotation.from_euler(axis, -angles[:, [i]], degrees=True) for i, axis in enumerate("zxz")
    )
    return about_z * about_x * about_new_z


def _table(particles: ParticleSet, context: ExportContext) -> NDArray[np.float64]:
    values = np.zeros((len(particles), COLUMN_COUNT))
    if not len(particles):
        return values
    values[:, TAG] = np.arange(1, len(particles) + 1)
    values[:, ALIGNED] = 1
    kept = particles.table.get(columns.ALIGNMENT_KEPT)
    values[:, AVERAGED] = 1 if kept is None else kept.fillna(0).to_numpy()
    score = particles.table.get(columns.ALIGNMENT_SCORE)
    values[:, SCORE] = 0 if score is None else score.fillna(0).to_numpy()
    values[:, ANGLES] = dynamo_angles(particles.rotations)
    tilts = [context.tomograms[name].tilts for name in particles.tomograms]
    values[:, WEDGE_TYPE] = [TILT_ABOUT_X if len(one) > 2 else TILT_ABOUT_Y for one in tilts]
    values[:, TILT_RANGE] = [one[:2] for one in tilts]
    values[:, TOMOGRAM] = [context.number_of(name) for name in particles.tomograms]
    values[:, CLASS] = particles.clusters
    values[:, COORDINATES] = particles.positions + HALF_VOXEL
    values[:, VOXEL_SIZE] = context.voxel_sizes(particles.tomograms)
    return values
