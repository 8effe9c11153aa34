"""Positions in the frame of the unbinned tomogram, where RELION 4 and 5 count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryopipe.errors import DataError
from cryopipe.export.particles import FloatArray, ParticleSet
from cryopipe.export.writer import Setting
from cryopipe.files.star import read_star


@dataclass(frozen=True)
class Frames:
    """The unbinned frames of the tomograms that hold particles, one entry per tomogram.

    Attributes
    ----------
    names
        Of the tomograms.
    pixel_sizes
        (n,) of the tilt series, angstrom.
    binnings
        (n,) voxel size of the tomogram over the tilt series' pixel size.
    sizes
        (n, 3) x, y, z in unbinned pixels.
    offset
        0, or 0.5 where a voxel is the mean of `binning` unbinned ones: the voxel's centre lies
        `offset * (binning - 1)` further.
    """

    names: list[str]
    pixel_sizes: FloatArray
    binnings: FloatArray
    sizes: FloatArray
    offset: float

    def rows_of(self, tomograms: list[str]) -> np.ndarray:
        """Return (m,) which entry each of the named tomograms is."""
        index = {name: i for i, name in enumerate(self.names)}
        return np.array([index[name] for name in tomograms], dtype=np.int64)

    def to_unbinned(self, tomograms: list[str], positions: FloatArray) -> FloatArray:
        """Turn (m, 3) positions in voxels of the tomograms into unbinned pixels, 0-based."""
        binnings = self.binnings[self.rows_of(tomograms)][:, None]
        return positions * binnings + self.offset * (binnings - 1)

    def from_unbinned(self, tomograms: list[str], positions: FloatArray) -> FloatArray:
        """Turn (m, 3) unbinned pixels, 0-based, into voxels of the tomograms."""
        binnings = self.binnings[self.rows_of(tomograms)][:, None]
        return (positions - self.offset * (binnings - 1)) / binnings

    def centres(self, tomograms: list[str]) -> FloatArray:
        """Return (m, 3) RELION's centre N / 2 of the named tomograms, unbinned pixels."""
        return self.sizes[self.rows_of(tomograms)] / 2


def frames_of(particles: ParticleSet, setting: Setting) -> Frames:
    """Return the unbinned frames, from a RELION project if the options name one, else from the options.

    Without a project, sizes are the tomogram's times the binning, made even: RELION takes N / 2 for
    coordinates and int(N / 2) for projections.

    Raises
    ------
    FileError, DataError
        If the named tomograms.star cannot be read or lacks a tomogram or a column.
    """
    names = [name for name in setting.tomograms if name in set(particles.tomograms)]
    records = [setting.tomograms[name] for name in names]
    voxel_sizes = np.array([record.voxel_size for record in records], dtype=np.float64)
    offset = 0.5 if setting.options.binned_by == "averaging" else 0.0
    if setting.options.relion_tomograms:
        pixel_sizes, sizes = _from_project(setting.options.relion_tomograms, names)
        return Frames(names, pixel_sizes, voxel_sizes / pixel_sizes, sizes, offset)
    given = setting.options.tilt_series_pixel_size
    pixel_sizes = np.full(len(names), given) if given else voxel_sizes
    binnings = voxel_sizes / pixel_sizes
    shapes = np.array([record.shape_zyx[::-1] for record in records], dtype=np.float64).reshape(-1, 3)
    sizes = 2 * np.ceil(shapes * binnings[:, None] / 2 - 1e-6)
    return Frames(names, pixel_sizes, binnings, sizes, offset)


def _from_project(path: str, names: list[str]) -> tuple[FloatArray, FloatArray]:
    table = read_star(path).get("global", pd.DataFrame())
    wanted = ["rlnTomoTiltSeriesPixelSize", "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"]
    missing = [name for name in ("rlnTomoName", *wanted) if name not in table]
    if missing:
        raise DataError(
            f"has no {missing[0]} in data_global",
            file=path,
            remedy="name the tomograms.star of a RELION 4 or 5 project in export: relion_tomograms",
        )
    table = table.set_index("rlnTomoName")
    unknown = [name for name in names if name not in table.index]
    if unknown:
        raise DataError(
            f"holds no tomogram {unknown[0]!r}, but {', '.join(map(str, table.index[:5]))}",
            file=path,
            remedy="give the tomograms the same names in the tomogram table",
        )
    values = table.loc[names, wanted].to_numpy(dtype=np.float64)
    return values[:, 0], values[:, 1:]
