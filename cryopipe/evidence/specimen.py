"""Extent, tilt axis, defocus and membranes of the tomograms, to which particles are related."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe.errors import DataError
from cryopipe.files.mrc import open_mask
from cryopipe.files.opening import open_tomogram
from cryopipe.tomograms import Tomogram

LONGEST = 256
"""Largest number of voxels along an edge of a mask of membranes after binning."""


@dataclass(frozen=True)
class Specimen:
    """What is known about the surroundings of the particles of one tomogram.

    Attributes
    ----------
    shape_zyx
        Of the volume, voxels.
    voxel_size
        Angstrom.
    along_x
        Whether the tilt axis is x, not y.
    defocus
        Micrometre; NaN if unknown.
    mask
        (z, y, x) above 0 where particles may be; None: everywhere.
    membranes
        (m, 3) x, y, z of voxels of membranes, angstrom; None if unknown.
    """

    shape_zyx: tuple[int, int, int]
    voxel_size: float
    along_x: bool = False
    defocus: float = math.nan
    mask: NDArray[np.generic] | None = None
    membranes: NDArray[np.float64] | None = None

    def depth(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z of positions (n, 3) x, y, z, angstrom, as a fraction of the thickness."""
        return positions[:, 2] / (self.shape_zyx[0] * self.voxel_size)

    def face_distance(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of positions (n, 3) x, y, z, angstrom, to the nearest face of the volume, angstrom."""
        size = np.array(self.shape_zyx[::-1]) - 1
        return np.minimum(positions, size * self.voxel_size - positions).min(axis=1)

    def membrane_distance(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of positions (n, 3) x, y, z, angstrom, to the nearest membrane; NaN without membranes."""
        if self.membranes is None or not len(self.membranes):
            return np.full(len(positions), np.nan)
        return np.asarray(cKDTree(self.membranes).query(positions)[0])


def read_specimens(tomograms: Iterable[Tomogram], membranes: str | None) -> dict[str, Specimen]:
    """Read what is known about tomograms, by name.

    Parameters
    ----------
    tomograms
        Rows of the tomogram table.
    membranes
        See `RelationOptions`.

    Raises
    ------
    FileError
        If a file is missing or is not an MRC file.
    DataError
        If a mask of membranes does not have its tomogram's shape.
    """
    return {one.name: _read(one, membranes) for one in tomograms}


def _read(tomogram: Tomogram, membranes: str | None) -> Specimen:
    opened = open_tomogram(tomogram)
    shape = tuple(int(edge) for edge in opened.volume.shape)
    points = None
    if membranes is not None:
        path = membranes.replace("{tomogram}", tomogram.name)
        mask = open_mask(path)
        if mask.shape != shape:
            raise DataError(
                f"mask of shape {mask.shape} (z, y, x) for a tomogram of shape {shape}",
                file=path,
                remedy="give a mask of the tomogram's shape, or leave `relations: membranes` blank",
            )
        points = mask_points(mask, opened.voxel_size)
    return Specimen(
        (shape[0], shape[1], shape[2]),
        opened.voxel_size,
        tomogram.tilt_axis.endswith("x"),
        math.nan if tomogram.defocus is None else tomogram.defocus,
        opened.mask,
        points,
    )


def mask_points(mask: NDArray[np.generic], voxel_size: float) -> NDArray[np.float64]:
    """Return (m, 3) x, y, z of the voxels above 0 of a mask (z, y, x), angstrom; large masks are binned first."""
    step = math.ceil(max(mask.shape) / LONGEST)
    found = []
    for start in range(0, mask.shape[0], step):
        slab = np.asarray(mask[start : start + step]) > 0
        plane = slab.any(axis=0)
        rows = np.logical_or.reduceat(plane, range(0, plane.shape[0], step), axis=0)
        cells = np.argwhere(np.logical_or.reduceat(rows, range(0, plane.shape[1], step), axis=1))
        found.append(np.column_stack([cells[:, 1], cells[:, 0], np.full(len(cells), start / step)]))
    return (np.concatenate(found) * step + (step - 1) / 2) * voxel_size
