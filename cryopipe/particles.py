"""The particle table and the poses that its columns hold.

Origins are RELION's: minus the shift of the particle from its coordinates, in angstrom.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.boxes import ChosenBoxes, ShiftedBoxes
from cryopipe.errors import DataError
from cryopipe.files.box_stacks import BoxStack
from cryopipe.volume.geometry import relion_angles, rotation_from_relion_angles

FloatArray = NDArray[np.float64]


def pick_table(
    tomogram: str,
    path: str,
    coordinates: FloatArray,
    voxel_size: float,
    scores: FloatArray,
    diameters: FloatArray,
) -> pd.DataFrame:
    """Return the particle table of one tomogram's picks.

    Parameters
    ----------
    tomogram, path
        Its name and its file.
    coordinates
        (n, 3) x, y, z, 0-based voxels of the tomogram.
    voxel_size
        Of the tomogram, angstrom.
    scores
        (n,) heights of the picks' peaks.
    diameters
        (n,) angstrom.

    Returns
    -------
    n rows; particles are named TOMOGRAM/NUMBER, counted from 1.

    Examples
    --------
    >>> places = np.array([[10.0, 20.0, 5.5]])
    >>> table = pick_table("TS_01", "TS_01.mrc", places, 10.0, np.array([7.5]), np.array([120.0]))
    >>> table["rlnTomoParticleName"].tolist()
    ['TS_01/1']
    """
    table = pd.DataFrame(coordinates, columns=list(columns.COORDINATES))
    table.insert(0, columns.TOMOGRAM, tomogram)
    table.insert(1, columns.MICROGRAPH, path)
    table.insert(2, columns.PARTICLE, [f"{tomogram}/{number + 1}" for number in range(len(table))])
    table[columns.VOXEL_SIZE] = voxel_size
    table[columns.PICK_SCORE] = scores
    table[columns.DIAMETER] = diameters
    return table


def rotations_of_table(table: pd.DataFrame) -> Rotation:
    """Return the n active rotations, reference to particle, of a particle table's angles."""
    return rotation_from_relion_angles(table[list(columns.ANGLES)].to_numpy(dtype=np.float64))


def shifts_of_table(table: pd.DataFrame) -> FloatArray:
    """Return (n, 3) x, y, z: how far the particles are from their coordinates, angstrom; 0 without origins."""
    if columns.ORIGINS[0] not in table:
        return np.zeros((len(table), 3))
    return 0 - table[list(columns.ORIGINS)].to_numpy(dtype=np.float64)


def poses_of_table(table: pd.DataFrame) -> tuple[FloatArray, Rotation]:
    """Return the true positions and the rotations of a particle table.

    Parameters
    ----------
    table
        n rows with coordinates, origins, angles and voxel size; see `cryopipe.columns`.

    Returns
    -------
    (n, 3) x, y, z positions in 0-based voxels of the tomogram, shifts included, and n active rotations from
    the reference to the particle.
    """
    coordinates = table[list(columns.COORDINATES)].to_numpy(dtype=np.float64)
    voxel_sizes = table[columns.VOXEL_SIZE].to_numpy(dtype=np.float64)
    return coordinates + shifts_of_table(table) / voxel_sizes[:, None], rotations_of_table(table)


def pose_columns(rotations: Rotation | None, shifts: ArrayLike | None) -> dict[str, FloatArray]:
    """Return RELION's columns of poses, for `DataFrame.assign`.

    Parameters
    ----------
    rotations
        n active rotations, reference to particle; None leaves the angles out.
    shifts
        (n, 3) x, y, z: how far the particles are from their coordinates, angstrom; None leaves the origins out.

    Returns
    -------
    (n,) degrees for each angle and angstrom for each origin, by column name.
    """
    found: dict[str, FloatArray] = {}
    if rotations is not None:
        angles = relion_angles(rotations) if len(rotations) else np.zeros((0, 3))
        found |= zip(columns.ANGLES, angles.T, strict=True)
    if shifts is not None:
        # 0 - x and not -x: a shift of nothing is 0, not -0.
        found |= zip(columns.ORIGINS, 0 - np.asarray(shifts, dtype=np.float64).T, strict=True)
    return found


def boxes_of_particles(stack: BoxStack, table: pd.DataFrame) -> tuple[ChosenBoxes, NDArray[np.int64]]:
    """Return the boxes of some particles, with the particles shifted to the centre by whole voxels.

    Parameters
    ----------
    stack
        Boxes of these particles and of others, by name.
    table
        n particles; their origins, where there are any, say where they are in their boxes.

    Returns
    -------
    n boxes in the table's order, and (n, 3) x, y, z voxels by which the particles were off the centre.

    Raises
    ------
    DataError
        If a particle has no box.
    """
    place = {name: row for row, name in enumerate(stack.names)}
    missing = [name for name in table[columns.PARTICLE] if name not in place]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(table)} particles, such as {missing[0]!r}, have no box",
            remedy="run extract_subtomograms for their tomograms again",
        )
    rows = np.array([place[name] for name in table[columns.PARTICLE]], dtype=np.intp)
    shifts = np.zeros((len(stack), 3), np.int64)
    shifts[rows] = np.rint(shifts_of_table(table) / stack.voxel_size)
    return ChosenBoxes(ShiftedBoxes(stack, shifts), rows), shifts[rows]
