"""Export to STOPGAP (.star) and to cryoCAT, TOM and Artiatomi (.em): motive lists.

Both count voxels from 1, and their angles phi, psi, theta give the active rotation Rz(psi) Rx(theta) Rz(phi) of the
reference to the particle. STOPGAP crops at whole voxels, so that coordinates are whole and shifts hold the remainder.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.list_reading import (
    find_tomograms,
    numbers_of,
    particle_set,
    scores_of,
    tomograms_by_number,
    write_numbers,
)
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext, Written, lists_of
from cryopipe.files.atomic import write_text
from cryopipe.files.em_file import read_em, write_em
from cryopipe.files.star import read_star

BLOCK = "stopgap_motivelist"
STOPGAP_COLUMNS = (
    *("motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "orig_x", "orig_y", "orig_z", "score"),
    *("x_shift", "y_shift", "z_shift", "phi", "psi", "the", "class"),
)
EM_COLUMNS = 20
SCORE, NUMBER, TOMOGRAM, OBJECT, CLASS = 0, 3, 4, 5, 19
POSITION, SHIFT, ANGLES = slice(7, 10), slice(10, 13), slice(16, 19)
FIRST_VOXEL = 1.0


class StopgapFormat:
    """particles.star and one list per cluster in the form of STOPGAP, and tomograms.tsv; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the lists; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            path = folder / f"{name}.star"
            write_text(path, _stopgap_text(particles.select(rows), context))
            written.append(Written(path, rows))
        write_numbers(folder, context)
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a list by STOPGAP's rules; see `Writer`."""
        table = read_star(path).get(BLOCK, pd.DataFrame())
        missing = [name for name in STOPGAP_COLUMNS if name not in table]
        if missing:
            raise DataError(f"has no {missing[0]} in data_{BLOCK}", file=path, remedy="give a motive list")
        numbers = numbers_of(path, table, ("tomo_num",))[:, 0]
        names, rows = find_tomograms(path, tomograms_by_number(path, numbers, context), context)
        table = table.iloc[rows].reset_index(drop=True)
        whole = numbers_of(path, table, ("orig_x", "orig_y", "orig_z"))
        shifts = numbers_of(path, table, ("x_shift", "y_shift", "z_shift"))
        halves = table["halfset"].astype(str).str.upper().map({"A": 1, "B": 2}).fillna(0)
        return particle_set(
            context,
            names,
            context.in_voxels(whole + shifts, names, FIRST_VOXEL),
            rotation_from_motive_angles(numbers_of(path, table, ("phi", "psi", "the"))),
            {
                columns.CLASS: table["class"],
                columns.ALIGNMENT_SCORE: table["score"],
                columns.HALF_SET: halves,
            },
        )


class EmFormat:
    """particles.em and one list per cluster, 20 numbers per particle, and tomograms.tsv; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the lists; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            chosen = particles.select(rows)
            path = folder / f"{name}.em"
            values = np.zeros((1, len(rows), EM_COLUMNS))
            whole = np.rint(chosen.positions)
            values[0, :, SCORE] = scores_of(chosen)
            values[0, :, NUMBER] = np.arange(1, len(rows) + 1)
            values[0, :, TOMOGRAM] = [context.number_of(one) for one in chosen.tomograms]
            values[0, :, OBJECT] = 1
            values[0, :, POSITION] = whole + FIRST_VOXEL
            values[0, :, SHIFT] = chosen.positions - whole
            values[0, :, ANGLES] = motive_angles(chosen.rotations)
            values[0, :, CLASS] = chosen.clusters
            write_em(path, values.astype(np.float32))
            written.append(Written(path, rows))
        write_numbers(folder, context)
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a list by cryoCAT's rules; see `Writer`."""
        array = read_em(path)
        if EM_COLUMNS not in array.shape[1:] or array.shape[0] != 1:
            raise DataError(
                f"is of shape {array.shape} (z, y, x), not 20 numbers per particle",
                file=path,
                remedy="give a motive list",
            )
        values = array[0] if array.shape[2] == EM_COLUMNS else array[0].T
        names, rows = find_tomograms(path, tomograms_by_number(path, values[:, TOMOGRAM], context), context)
        values = values[rows]
        positions = context.in_voxels(values[:, POSITION] + values[:, SHIFT], names, FIRST_VOXEL)
        rotations = rotation_from_motive_angles(values[:, ANGLES])
        found = {columns.CLASS: values[:, CLASS], columns.ALIGNMENT_SCORE: values[:, SCORE]}
        return particle_set(context, names, positions, rotations, found)


def motive_angles(rotations: Rotation) -> FloatArray:
    """Return (n, 3) phi, psi, theta in degrees of n active rotations, reference to particle."""
    if not len(rotations):
        return np.zeros((0, 3))
    with warnings.catch_warnings():
        # At theta 0 or 180 only phi +- psi matters; scipy then sets one of them to 0 and warns.
        warnings.filterwarnings("ignore", message="Gimbal lock", category=UserWarning)
        phi, theta, psi = rotations.as_euler("zxz", degrees=True).reshape(-1, 3).T
    return np.stack([phi, psi, theta], axis=1)


def rotation_from_motive_angles(angles: FloatArray) -> Rotation:
    """Return the active rotations of (n, 3) phi, psi, theta: the product Rz(psi) Rx(theta) Rz(phi)."""
    phi, psi, theta = (angles[:, [column]] for column in range(3))
    about_z, about_x = (
        Rotation.from_euler("z", phi, degrees=True),
        Rotation.from_euler("x", theta, degrees=True),
    )
    return Rotation.from_euler("z", psi, degrees=True) * about_x * about_z


def _stopgap_text(particles: ParticleSet, context: ExportContext) -> str:
    """Return the list as STOPGAP reads it: labels without numbers, half-sets of one letter, no blank line in the rows."""
    whole = np.rint(particles.positions)
    shifts, angles = particles.positions - whole, motive_angles(particles.rotations)
    scores, clusters = scores_of(particles), particles.clusters
    halves = ["A" if half == 1 else "B" for half in particles.table[columns.HALF_SET]]
    lines = ["", f"data_{BLOCK}", "", "loop_", *(f"_{name}" for name in STOPGAP_COLUMNS), ""]
    for row, name in enumerate(particles.tomograms):
        number = row + 1
        x, y, z = (int(value) for value in whole[row] + FIRST_VOXEL)
        numbers = (f"{value:.6f}" for value in (scores[row], *shifts[row], *angles[row]))
        lines.append(
            f"{number} {context.number_of(name)} 1 {number} {halves[row]} {x} {y} {z} "
            f"{' '.join(numbers)} {clusters[row]}"
        )
    return "\n".join([*lines, ""])
