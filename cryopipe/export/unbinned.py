"""Conversion to coordinates of the unbinned tomogram, which RELION 4 and 5 use."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryopipe.errors import DataError, size_text
from cryopipe.export.options import TomogramRecord
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext
from cryopipe.files.star import read_star

_NAME = "rlnTomoName"
_PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
_SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")


@dataclass(frozen=True)
class Frames:
    """Unbinned coordinate frames of the tomograms with particles, one entry per tomogram.

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
        """Convert (m, 3) positions in voxels of the tomograms to unbinned pixels, 0-based."""
        binnings = self.binnings[self.rows_of(tomograms)][:, None]
        return positions * binnings + self.offset * (binnings - 1)

    def from_unbinned(self, tomograms: list[str], positions: FloatArray) -> FloatArray:
        """Convert (m, 3) unbinned pixels, 0-based, to voxels of the tomograms."""
        binnings = self.binnings[self.rows_of(tomograms)][:, None]
        return (positions - self.offset * (binnings - 1)) / binnings

    def centres(self, tomograms: list[str]) -> FloatArray:
        """Return (m, 3) RELION's centre N / 2 of the named tomograms, unbinned pixels."""
        return self.sizes[self.rows_of(tomograms)] / 2


def frames_of(particles: ParticleSet, context: ExportContext) -> Frames:
    """Return the unbinned frames, from a RELION project if the options name one, else from the options.

    Without a project, sizes are the tomogram's times the binning, made even: RELION takes N / 2 for
    coordinates and int(N / 2) for projections.

    Raises
    ------
    FileError, DataError
        As `read_frames` does for the named tomograms.star.
    """
    names = [name for name in context.tomograms if name in set(particles.tomograms)]
    if context.options.relion_tomograms:
        return read_frames(context.options.relion_tomograms, names, context)
    return frames_of_tomograms(names, context)


def frames_of_tomograms(names: list[str], context: ExportContext, pixel_size: float | None = None) -> Frames:
    """Return the unbinned frames of the named tomograms.

    Parameters
    ----------
    names
        Of tomograms of the context.
    context
        The tomograms, and the options for those without a pixel size of the tilt series.
    pixel_size
        Of the tilt series, angstrom, where a file states it; it has precedence.
    """
    records = [context.tomograms[name] for name in names]
    voxel_sizes = context.voxel_sizes(names)
    offset = 0.5 if context.options.binned_by == "averaging" else 0.0
    given = context.options.tilt_series_pixel_size
    pixel_sizes = np.array(
        [pixel_size or one.tilt_series_pixel_size or given or one.voxel_size for one in records],
        dtype=np.float64,
    )
    binnings = voxel_sizes / pixel_sizes
    shapes = [
        record.unbinned_size or np.array(record.shape_zyx[::-1]) * binning
        for record, binning in zip(records, binnings, strict=True)
    ]
    sizes = _made_even(np.array(shapes, dtype=np.float64).reshape(-1, 3))
    for record, pixels, size in zip(records, pixel_sizes, sizes, strict=True):
        _check_frame("the tomogram table", record, float(pixels), size)
    return Frames(names, pixel_sizes, binnings, sizes, offset)


def read_frames(path: str | os.PathLike[str], names: list[str], context: ExportContext) -> Frames:
    """Read the unbinned frames of the named tomograms from a tomograms.star of RELION 4 or 5.

    Sizes in unbinned pixels must match the tomogram's shape, because positions are relative to the centre and a wrong
    size shifts all of them. Differences of less than one voxel of the tomogram, or of one pixel to an even size, are
    accepted, because binning leaves a remainder and RELION requires even sizes.

    Raises
    ------
    FileError, DataError
        If the file cannot be read, lacks a tomogram or a column, lists a tomogram twice, or holds a pixel size
        or sizes that do not fit the tomogram.
    """
    table = read_star(path).get("global", pd.DataFrame())
    missing = [name for name in (_NAME, _PIXEL_SIZE, *_SIZES) if name not in table]
    if missing:
        raise DataError(
            f"has no {missing[0]} in data_global",
            file=path,
            remedy="name the tomograms.star of a RELION 4 or 5 project in export: relion_tomograms",
        )
    table = table.set_index(table[_NAME].astype(str))
    unknown = [name for name in names if name not in table.index]
    if unknown:
        raise DataError(
            f"contains no tomogram {unknown[0]!r}, but {', '.join(map(str, table.index[:5]))}",
            file=path,
            remedy="write each tomogram's name in that file to the column exported_name of the tomogram table",
        )
    twice = [name for name in names if (table.index == name).sum() > 1]
    if twice:
        raise DataError(
            f"lists tomogram {twice[0]!r} {(table.index == twice[0]).sum()} times",
            file=path,
            remedy="keep one row of each tomogram in data_global",
        )
    numbers = table.loc[names, [_PIXEL_SIZE, *_SIZES]].apply(pd.to_numeric, errors="coerce")
    values = numbers.to_numpy(dtype=np.float64).reshape(-1, 4)
    for name, pixel_size, size in zip(names, values[:, 0], values[:, 1:], strict=True):
        _check_frame(path, context.tomograms[name], float(pixel_size), size)
    offset = 0.5 if context.options.binned_by == "averaging" else 0.0
    return Frames(names, values[:, 0], context.voxel_sizes(names) / values[:, 0], values[:, 1:], offset)


def _check_frame(
    path: str | os.PathLike[str], record: TomogramRecord, pixel_size: float, size: FloatArray
) -> None:
    """Raise an error if the size (x, y, z in unbinned pixels) differs from the tomogram's by a voxel or more."""
    if not 0 < pixel_size < np.inf:
        raise DataError(
            f"tomogram {record.name!r} has {_PIXEL_SIZE} {pixel_size:g}",
            file=path,
            remedy="write the pixel size of its tilt series, in angstrom",
        )
    shape = np.array(record.shape_zyx[::-1], dtype=np.float64)
    voxels = size * pixel_size / record.voxel_size
    made_even = _made_even(shape * record.voxel_size / pixel_size)
    if (size > 0).all() and ((np.abs(voxels - shape) < 1 - 1e-6) | (size == made_even)).all():
        return
    raise DataError(
        f"tomogram {record.name!r} has rlnTomoSizeX, Y, Z {size_text(size, '.10g')} pixels of {pixel_size:g} A, that is "
        f"{size_text(np.round(voxels, 2), '.10g')} voxels of {record.voxel_size:g} A, but {record.path} has {size_text(shape, '.10g')} voxels "
        "(less than one voxel of difference is allowed)",
        file=path,
        remedy="correct the sizes there, or the tomogram or its voxel size in the tomogram table",
    )


def _made_even(size: FloatArray) -> FloatArray:
    """Return the smallest even number of pixels that hold each size."""
    return 2 * np.ceil(size / 2 - 1e-6)
