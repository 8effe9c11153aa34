"""Volumes in MRC files: read as memory maps that cannot be written to, written whole or not at all.

The format is https://www.ccpem.ac.uk/mrc_format/mrc2014.php. Readers are lenient about header fields that
programs of the field fill in differently (stamp, axis order, extended headers) as long as the sizes make
sense, and strict about everything that decides which number a voxel holds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryopipe.errors import DataError, FileError
from cryopipe.files.atomic import atomic_path

HEADER_BYTES = 1024
DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("i1"),
    1: np.dtype("i2"),
    2: np.dtype("f4"),
    6: np.dtype("u2"),
    12: np.dtype("f2"),
}
"""The value type of each mode that is read."""
UNREADABLE_MODES = {
    3: "complex 16-bit integers: a Fourier transform",
    4: "complex 32-bit numbers: a Fourier transform",
    16: "RGB colours",
    101: "4-bit integers",
}
SIGNATURES = {
    b"\x1f\x8b": ("is compressed with gzip", "unpack it first: gunzip FILE"),
    b"BZh": ("is compressed with bzip2", "unpack it first: bunzip2 FILE"),
    b"\xfd7zXZ": ("is compressed with xz", "unpack it first: unxz FILE"),
    b"PK\x03\x04": ("is a zip archive", "unpack it first: unzip FILE"),
    b"\x89HDF": ("is an HDF5 file, not an MRC", "convert it to MRC, for example with EMAN2's e2proc3d.py"),
    b"II*\x00": ("is a TIFF file, not an MRC", "convert it to MRC, for example with IMOD's tif2mrc"),
    b"MM\x00*": ("is a TIFF file, not an MRC", "convert it to MRC, for example with IMOD's tif2mrc"),
}
_IMOD_STAMP = 1146047817
_LITTLE: Final = "<"
_BIG: Final = ">"
_SECTION_BYTES = 64 * 2**20


@dataclass(frozen=True)
class MrcHeader:
    """What the header of an MRC file says, checked against the file's size.

    Attributes
    ----------
    path
        The file.
    shape_zyx
        Number of voxels, (z, y, x).
    voxel_size
        Angstrom, the mean of the three axes; None where the header does not know it.
    voxel_size_problem
        Why `voxel_size` is None; empty where it is known.
    voxel_size_xyz
        Angstrom along x, y, z, as the header states it; 0 where it does not.
    axes
        Which axis the columns, rows and sections are said to be: (1, 2, 3) for x, y, z. Programs of the field
        take them for x, y, z whatever stands here, and so do we.
    mode
        Number of the MRC mode.
    dtype
        Value type and byte order of the stored voxels.
    data_offset
        Bytes before the first voxel.
    """

    path: Path
    shape_zyx: tuple[int, int, int]
    voxel_size: float | None
    voxel_size_problem: str
    voxel_size_xyz: tuple[float, float, float]
    axes: tuple[int, int, int]
    mode: int
    dtype: np.dtype
    data_offset: int

    @property
    def data_bytes(self) -> int:
        """Bytes that the voxels take in the file."""
        return math.prod(self.shape_zyx) * self.dtype.itemsize


def read_header(path: str | os.PathLike[str]) -> MrcHeader:
    """Read and check the header of an MRC file.

    Parameters
    ----------
    path
        An MRC file of any suffix.

    Raises
    ------
    FileError
        If the file is missing, unreadable, compressed, truncated, not an MRC, or of a mode that holds no
        real-space volume.
    """
    path = Path(path)
    block, size = _read_block(path)
    header = _interpret(path, block)
    mode = int(header["mode"])
    if mode in UNREADABLE_MODES:
        raise FileError(
            f"MRC mode {mode} ({UNREADABLE_MODES[mode]}) cannot be used",
            file=path,
            remedy="give a real-space volume; IMOD converts 4-bit files: newstack -mode 1 IN OUT",
        )
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    sizes, problem = _voxel_size(header)
    found = MrcHeader(
        path=path,
        shape_zyx=shape,
        voxel_size=None if problem else float(f"{sum(sizes) / 3:.6g}"),
        voxel_size_problem=problem,
        voxel_size_xyz=sizes,
        axes=(int(header["mapc"]), int(header["mapr"]), int(header["maps"])),
        mode=mode,
        dtype=_value_type(header, mode),
        data_offset=HEADER_BYTES + int(header["nsymbt"]),
    )
    if size < found.data_offset + found.data_bytes:
        raise FileError(
            f"is truncated: {size:,} bytes, but its header promises "
            f"{found.data_offset + found.data_bytes:,} ({_by(shape)} voxels of {found.dtype.itemsize} bytes)",
            file=path,
            remedy="copy or reconstruct it again",
        )
    return found


def open_volume(path: str | os.PathLike[str]) -> np.ndarray:
    """Map the volume of an MRC file into memory, read-only.

    Parameters
    ----------
    path
        An MRC file of mode 0, 1, 2, 6 or 12, in either byte order.

    Returns
    -------
    Array (z, y, x) of the stored type. It is a memory map: slices are read from disk when they are used.

    Raises
    ------
    FileError
        As `read_header` does.
    """
    header = read_header(path)
    return np.memmap(
        header.path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape_zyx
    )


def write_volume(path: str | os.PathLike[str], volume: np.ndarray, voxel_size: float) -> None:
    """Write a volume as an MRC file that every program of the field reads.

    Parameters
    ----------
    path
        The file; written whole or not at all.
    volume
        Array (z, y, x). int8, int16 and uint16 keep their type, bool becomes int8, uint8 becomes uint16 and
        everything else float32. A memory map works: it is written a few sections at a time.
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
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
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
    """Write a volume of any size as an MRC file that holds some rows of it and takes room for no others.

    File systems store no holes; whoever reads them gets zeros. The header states no statistics of the voxels.

    Parameters
    ----------
    path
        The file; written whole or not at all.
    shape_zyx
        Voxels.
    dtype
        int8, int16, uint16 or float32.
    voxel_size
        Angstrom.
    rows
        Where neighbouring rows begin, z and y, and what they hold, (count, x). Later ones replace earlier ones.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    header = _new_header(shape_zyx, _mode_for(dtype), voxel_size)
    # Maximum below minimum, as the format has it where they are unknown.
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header.tobytes())
        for z, y, values in rows:
            stream.seek(HEADER_BYTES + (z * shape_zyx[1] + y) * shape_zyx[2] * dtype.itemsize)
            stream.write(values.astype(dtype, copy=False).tobytes())
        stream.truncate(HEADER_BYTES + math.prod(shape_zyx) * dtype.itemsize)


def _read_block(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as stream:
            block = stream.read(HEADER_BYTES)
            size = stream.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="correct the path") from None
    except IsADirectoryError:
        raise FileError("is a directory", file=path, remedy="give the MRC file in it") from None
    except PermissionError:
        raise FileError(
            "may not be read", file=path, remedy="change its permissions: chmod u+r FILE"
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read ({error})", file=path, remedy="copy it again") from error
    for signature, (problem, remedy) in SIGNATURES.items():
        if block.startswith(signature):
            raise FileError(problem, file=path, remedy=remedy)
    if size == 0:
        raise FileError("is empty (0 bytes)", file=path, remedy="copy or reconstruct it again")
    if len(block) < HEADER_BYTES:
        raise FileError(
            f"is not an MRC file: {size:,} bytes, shorter than an MRC header of {HEADER_BYTES}",
            file=path,
            remedy="give a volume in MRC format",
        )
    return block, size


def _interpret(path: Path, block: bytes) -> np.void:
    """Return the header in the byte order in which it makes sense; the stamp decides where both do."""
    little, big = (np.frombuffer(block, HEADER_DTYPE.newbyteorder(order))[0] for order in (_LITTLE, _BIG))
    stamped_big = bytes(big["machst"])[:2] == b"\x11\x11"
    candidates = (big, little) if stamped_big else (little, big)
    for header in candidates:
        if _makes_sense(header):
            return header
    header = candidates[0]
    if block[208:211] != b"MAP":
        raise FileError(
            "is not an MRC file: no 'MAP' stamp, and the sizes in its header make no sense",
            file=path,
            remedy="give a volume in MRC format",
        )
    raise FileError(
        f"its header makes no sense: {header['nx']} x {header['ny']} x {header['nz']} voxels (x, y, z), "
        f"mode {header['mode']}, extended header of {header['nsymbt']} bytes",
        file=path,
        remedy="copy or reconstruct it again",
    )


def _makes_sense(header: np.void) -> bool:
    sizes = [int(header[name]) for name in ("nx", "ny", "nz")]
    return (
        all(0 < size < 2**24 for size in sizes)
        and int(header["mode"]) in {*DTYPES, *UNREADABLE_MODES}
        and 0 <= int(header["nsymbt"]) < 2**30
    )


def _value_type(header: np.void, mode: int) -> np.dtype:
    if mode == 0 and _bytes_are_unsigned(header):
        return np.dtype("u1")
    return DTYPES[mode].newbyteorder(_BIG if header.dtype["nx"].str[0] == _BIG else _LITTLE)


def _bytes_are_unsigned(header: np.void) -> bool:
    """Tell mode 0 as IMOD wrote it before 2012 (0 to 255) from the standard's (-128 to 127).

    IMOD says which in a flag beside its stamp: https://bio3d.colorado.edu/imod/doc/mrc_format.txt. Without
    the stamp, a maximum above 127 tells.
    """
    integers = np.frombuffer(header["extra2"].tobytes(), header.dtype["nx"])
    stamp, flags = int(integers[10]), int(integers[11])
    if stamp == _IMOD_STAMP:
        return not flags & 1
    return float(header["dmin"]) >= 0 and 127 < float(header["dmax"]) <= 255


def _voxel_size(header: np.void) -> tuple[tuple[float, float, float], str]:
    sizes = []
    for axis in "xyz":
        length, count = float(header["cella"][axis]), int(header["m" + axis])
        sizes.append(length / count if count > 0 and math.isfinite(length) else 0.0)
    xyz = (sizes[0], sizes[1], sizes[2])
    shown = " x ".join(f"{size:.4g}" for size in xyz)
    if min(xyz) <= 0:
        return xyz, f"voxel size in the header is {shown} A, that is, unknown"
    if max(xyz) > 1.01 * min(xyz):
        return xyz, f"voxel size in the header differs between the axes: {shown} A (x, y, z)"
    if all(abs(size - 1) < 1e-4 for size in xyz):
        return xyz, "voxel size in the header is 1 A, which most programs write when they do not know it"
    if not 0.1 <= xyz[0] <= 1000:
        return xyz, f"voxel size in the header is {shown} A, which cannot be"
    return xyz, ""


def _mode_for(dtype: np.dtype) -> int:
    return {"b1": 0, "i1": 0, "i2": 1, "u1": 6, "u2": 6}.get(f"{dtype.kind}{dtype.itemsize}", 2)


def _new_header(shape_zyx: tuple[int, ...], mode: int, voxel_size: float) -> np.ndarray:
    header = np.zeros((), HEADER_DTYPE.newbyteorder(_LITTLE))
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


def _by(shape_zyx: tuple[int, int, int]) -> str:
    return " x ".join(str(size) for size in shape_zyx[::-1])
