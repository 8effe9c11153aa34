"""Particle tables and the poses in their columns.

Origins follow RELION: minus the shift of the particle from its coordinates, in angstrom.
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
        Name and file of the tomogram.
    coordinates
        (n, 3) x, y, z, 0-based voxels of the tomogram.
    voxel_size
        Of the tomogram, angstrom.
    scores
        (n,) pick scores: peak heights.
    diameters
        (n,) angstrom.

    Returns
    -------
    n rows; particles are named TOMOGRAM/NUMBER, numbered from 1.

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
    """Return (n, 3) x, y, z shifts of the particles from their coordinates, angstrom; 0 without origins."""
    if columns.ORIGINS[0] not in table:
        return np.zeros((len(table), 3))
    return 0 - table[list(columns.ORIGINS)].to_numpy(dtype=np.float64)


def positions_of_table(table: pd.DataFrame) -> FloatArray:
    """Return (n, 3) x, y, z positions of a particle table, shifts included, angstrom from the centre of voxel 0."""
    coordinates = table[list(columns.COORDINATES)].to_numpy(dtype=np.float64)
    return coordinates * table[[columns.VOXEL_SIZE]].to_numpy(dtype=np.float64) + shifts_of_table(table)


def poses_of_table(table: pd.DataFrame) -> tuple[FloatArray, Rotation]:
    """Return the positions, shifts included, and the rotations of a particle table.

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
    """Return RELION's pose columns, for `DataFrame.assign`.

    Parameters
    ----------
    rotations
        n active rotations, reference to particle; None omits the angles.
    shifts
        (n, 3) x, y, z shifts of the particles from their coordinates, angstrom; None omits the origins.

    Returns
    -------
    (n,) degrees for each angle and angstrom for each origin, by column name.
    """
    found: dict[str, FloatArray] = {}
    if rotations is not None:
        angles = relion_angles(rotations) if len(rotations) else np.zeros((0, 3))
        found |= zip(columns.ANGLES, angles.T, strict=True)
    if shifts is not None:
        # 0 - x instead of -x: a shift of 0 gives 0, not -0.
        found |= zip(columns.ORIGINS, 0 - np.asarray(shifts, dtype=np.float64).T, strict=True)
    return found


def boxes_of_particles(stack: BoxStack, table: pd.DataFrame) -> tuple[ChosenBoxes, NDArray[np.int64]]:
    """Return the boxes of a table's particles, centred by their shifts rounded to whole voxels.

    Parameters
    ----------
    stack
        Boxes of these particles and possibly of others, found by name, cut at the coordinates.
    table
        n particles; their origins, if present, are their positions in the boxes.

    Returns
    -------
    n boxes in the order of the table, and the (n, 3) x, y, z shifts that were applied, voxels.

    Raises
    ------
    DataError
        If a particle has no box.
    """
    rows = _rows_of_particles(stack, table)
    shifts = np.zeros((len(stack), 3), np.int64)
    shifts[rows] = np.rint(shifts_of_table(table) / stack.voxel_size)
    return ChosenBoxes(ShiftedBoxes(stack, shifts), rows), shifts[rows]


def centred_boxes_of_particles(stack: BoxStack, table: pd.DataFrame) -> tuple[ChosenBoxes, FloatArray]:
    """Return the boxes of a table's particles, which were cut at their positions, shifts included.

    Parameters
    ----------
    stack
        Boxes of these particles and possibly of others, found by name.
    table
        n particles.

    Returns
    -------
    n boxes in the order of the table, and the (n, 3) x, y, z shifts of the boxes from the coordinates, voxels of
    the boxes.

    Raises
    ------
    DataError
        If a particle has no box.
    """
    return ChosenBoxes(stack, _rows_of_particles(stack, table)), shifts_of_table(table) / stack.voxel_size


def _rows_of_particles(stack: BoxStack, table: pd.DataFrame) -> NDArray[np.intp]:
    place = {name: row for row, name in enumerate(stack.names)}
    missing = [name for name in table[columns.PARTICLE] if name not in place]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(table)} particles have no box, for example {missing[0]!r}",
            remedy="run extract_subtomograms again for their tomograms",
        )
    return np.array([place[name] for name in table[columns.PARTICLE]], dtype=np.intp)
