"""Reading of MRC files as read-only memory maps, and of OME-Zarr volumes; atomic writing of volumes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import cast

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryopipe.errors import DataError
from cryopipe.files import mrc_header
from cryopipe.files.atomic import atomic_path
from cryopipe.files.mrc_header import DTYPES, HEADER_BYTES, MrcHeader
from cryopipe.files.zarr_volumes import is_zarr, open_zarr_volume, read_zarr_header

__all__ = ["MrcHeader", "open_mask", "open_volume", "read_header", "write_sparse_volume", "write_volume"]

_SECTION_BYTES = 64 * 2**20


def read_header(path: str | os.PathLike[str]) -> MrcHeader:
    """Read the header of an MRC file, or the metadata of an OME-Zarr volume.

    Raises
    ------
    FileError
        As `cryopipe.files.mrc_header.read_header` and `cryopipe.files.zarr_volumes.read_zarr_header`.
    """
    return read_zarr_header(path) if is_zarr(path) else mrc_header.read_header(path)


def open_volume(path: str | os.PathLike[str]) -> np.ndarray:
    """Map the volume of an MRC file into memory, read-only, or open an OME-Zarr volume.

    Parameters
    ----------
    path
        An MRC file of mode 0, 1, 2, 6 or 12, in either byte order, or the folder of an OME-Zarr volume.

    Returns
    -------
    Memory map (z, y, x) of the stored type, or a `ZarrVolume`: slices are read from disk on access.

    Raises
    ------
    FileError
        As `read_header`.
    """
    if is_zarr(path):
        return cast("np.ndarray", open_zarr_volume(path))
    header = read_header(path)
    return np.memmap(
        header.path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape_zyx
    )


def open_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Open a mask: an array (z, y, x) that is above 0 inside.

    Masks of bytes have one of three pairs of values: 0 and 1; 0 and 255, which are 0 and -1 as signed bytes; and IMOD's
    -128 and -127. A signed mask without voxels above 0 has the second or the third.

    Raises
    ------
    FileError
        As `read_header`.
    """
    volume = np.asarray(open_volume(path)) if is_zarr(path) else open_volume(path)
    if volume.dtype != np.int8:
        return volume
    lowest, other = 0, False
    sections = max(1, _SECTION_BYTES // volume[0].size)
    for start in range(0, len(volume), sections):
        slab = volume[start : start + sections]
        if slab.max() > 0:
            return volume
        lowest, other = min(lowest, int(slab.min())), other or bool((slab == 0).any())
    if other or lowest > -128:
        return volume.view(np.uint8)
    return np.asarray(volume).view(np.uint8) ^ np.uint8(128)


def write_volume(path: str | os.PathLike[str], volume: np.ndarray, voxel_size: float) -> None:
    """Write a volume as an MRC file.

    Parameters
    ----------
    path
        The file; written atomically.
    volume
        Array (z, y, x). int8, int16 and uint16 keep their type, bool becomes int8, uint8 becomes uint16 and
        everything else float32. The array may be a memory map: a few sections are written at a time.
    voxel_size
        Angstrom.

    Raises
    ------
    DataError
        If the array is not a volume, holds NaN or infinity, or the voxel size is not a positive number.
    FileError
        If the file cannot be written.
    """
    if volume.ndim != 3 or 0 in volume.shape:
        raise DataError(f"an array of shape {volume.shape} is not a volume", file=path)
    if not (math.isfinite(voxel_size) and voxel_size > 0):
        raise DataError(f"voxel size {voxel_size:g} is not a positive length", file=path)
    mode = _mode_for(volume.dtype)
    sections = max(1, _SECTION_BYTES // (4 * volume.shape[1] * volume.shape[2]))
    total = square = 0.0
    low, high = math.inf, -math.inf
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(bytes(HEADER_BYTES))
        for start in range(0, volume.shape[0], sections):
            with np.errstate(over="ignore"):  # values too large for float32 become infinite; reported below
                slab = np.asarray(volume[start : start + sections]).astype(DTYPES[mode])
            if not np.isfinite(slab).all():
                raise DataError("the volume holds NaN or infinity and was not written", file=path)
            values = slab.astype(np.float64)
            total, square = total + float(values.sum()), square + float(np.square(values).sum())
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            stream.write(slab.tobytes())
        mean = total / volume.size
        header = _new_header(volume.shape, mode, voxel_size)
        header["dmin"], header["dmax"], header["dmean"] = low, high, mean
        header["rms"] = math.sqrt(max(square / volume.size - mean**2, 0.0))
        stream.seek(0)
        stream.write(header.tobytes())


def write_sparse_volume(
    path: str | os.PathLike[str],
    shape_zyx: tuple[int, int, int],
    dtype: np.dtype,
    voxel_size: float,
    rows: Iterable[tuple[int, int, np.ndarray]],
) -> None:
    """Write some rows of a volume as a sparse MRC file, which uses disk space only for these rows.

    All other voxels are read as zeros. The header contains no statistics of the voxels.

    Parameters
    ----------
    path
        The file; written atomically.
    shape_zyx
        Voxels.
    dtype
        int8, int16, uint16 or float32.
    voxel_size
        Angstrom.
    rows
        z and y of the first of several consecutive rows, and their values (count, x). Later rows replace earlier ones.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    header = _new_header(shape_zyx, _mode_for(dtype), voxel_size)
    # The format marks unknown statistics by a maximum below the minimum.
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header.tobytes())
        for z, y, values in rows:
            stream.seek(HEADER_BYTES + (z * shape_zyx[1] + y) * shape_zyx[2] * dtype.itemsize)
            stream.write(values.astype(dtype, copy=False).tobytes())
        stream.truncate(HEADER_BYTES + math.prod(shape_zyx) * dtype.itemsize)


def _mode_for(dtype: np.dtype) -> int:
    return {"b1": 0, "i1": 0, "i2": 1, "u1": 6, "u2": 6}.get(f"{dtype.kind}{dtype.itemsize}", 2)


def _new_header(shape_zyx: tuple[int, ...], mode: int, voxel_size: float) -> np.ndarray:
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    for axis, count in zip("zyx", shape_zyx, strict=True):
        header["n" + axis] = header["m" + axis] = count
        header["cella"][axis] = count * voxel_size
    for angle in ("alpha", "beta", "gamma"):
        header["cellb"][angle] = 90
    header["mode"] = mode
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"], header["nversion"] = 1, 20141
    header["map"], header["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = b"cryopipe"
    return header
