"""Headers of MRC files, read leniently and checked against the size of the file.

The format is https://www.ccpem.ac.uk/mrc_format/mrc2014.php. The reader accepts header fields that programs
fill in differently (stamp, axis order, extended headers) if the sizes are plausible, and is strict about everything
that determines the values of voxels.

Only the layout of the header (`HEADER_DTYPE`) is taken from mrcfile, because mrcfile refuses or warns about files
without a stamp or with bytes after the volume, does not read IMOD's flag of unsigned bytes, gives no remedies, and
writes only arrays in memory, not atomically.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryopipe.errors import FileError, reading_fault, size_text

HEADER_BYTES = 1024
DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("i1"),
    1: np.dtype("i2"),
    2: np.dtype("f4"),
    6: np.dtype("u2"),
    12: np.dtype("f2"),
}
"""Value type of each supported mode."""
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
_STACK_OF_VOLUMES = 401
_SAMPLE_BYTES = 2**20
_FEWEST_BYTES = 4096
"""Smallest number of bytes for a histogram."""


@dataclass(frozen=True)
class MrcHeader:
    """Header of an MRC file, checked against the file's size.

    Attributes
    ----------
    path
        The file.
    shape_zyx
        Number of voxels, (z, y, x).
    voxel_size
        Angstrom, the mean of the three axes; None if the header does not state it.
    voxel_size_problem
        Why `voxel_size` is None; empty if it is known.
    voxel_size_xyz
        Angstrom along x, y, z in the header; 0 if not stated.
    axes
        Axes of the columns, rows and sections in the header, (1, 2, 3) for x, y, z. Like other programs, cryopipe
        treats them as x, y, z regardless of these values.
    mode
        Number of the MRC mode.
    dtype
        Value type and byte order of the stored voxels.
    data_offset
        Bytes before the first voxel.
    remarks
        Ambiguities that were resolved from the content of the file, each with its remedy.
    stack
        Description of the stack if the file is a stack of images or volumes; empty for a volume.
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
    remarks: tuple[tuple[str, str], ...] = ()
    stack: str = ""

    @property
    def data_bytes(self) -> int:
        """Size of the voxels in the file, bytes."""
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
        If the file is missing, unreadable, compressed, truncated, not an MRC file, or of a mode without a
        real-space volume.
    """
    path = Path(path)
    block, size = _read_block(path)
    header = _interpret(path, block, size)
    mode = int(header["mode"])
    if mode in UNREADABLE_MODES:
        raise FileError(
            f"MRC mode {mode} ({UNREADABLE_MODES[mode]}) cannot be used",
            file=path,
            remedy="give a real-space volume; IMOD converts 4-bit files: newstack -mode 1 IN OUT",
        )
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    value_type = DTYPES[mode].newbyteorder(_BIG if header.dtype["nx"].str[0] == _BIG else _LITTLE)
    offset, remarks = _first_voxel(path, header, size, math.prod(shape) * value_type.itemsize)
    if mode == 0:
        value_type, doubt = _byte_type(path, header, offset, math.prod(shape))
        remarks += doubt
    sizes, problem = _voxel_size(header)
    return MrcHeader(
        path=path,
        shape_zyx=shape,
        voxel_size=None if problem else float(f"{sum(sizes) / 3:.6g}"),
        voxel_size_problem=problem,
        voxel_size_xyz=sizes,
        axes=(int(header["mapc"]), int(header["mapr"]), int(header["maps"])),
        mode=mode,
        dtype=value_type,
        data_offset=offset,
        remarks=tuple(remarks),
        stack=_stack(header),
    )


def _first_voxel(
    path: Path, header: np.void, size: int, data_bytes: int
) -> tuple[int, list[tuple[str, str]]]:
    """Return the offset of the first voxel in bytes, and remarks about the file's size."""
    extended = int(header["nsymbt"])
    promised = HEADER_BYTES + extended + data_bytes
    if size == HEADER_BYTES + data_bytes and extended:
        problem = f"its header states an extended header of {extended:,} bytes, but the file contains none"
        return HEADER_BYTES, [(f"{problem}: voxels are read from byte {HEADER_BYTES} on", "view a slice")]
    if size < promised:
        by = size_text(int(header[name]) for name in ("nx", "ny", "nz"))
        raise FileError(
            f"is truncated: {size:,} bytes, but its header states {promised:,} "
            f"({by} voxels of {data_bytes // math.prod(int(header[n]) for n in ('nx', 'ny', 'nz'))} bytes)",
            file=path,
            remedy="copy or reconstruct it again",
        )
    if size > promised:
        problem = f"{size - promised:,} bytes more than its header states ({promised:,}); they are ignored"
        return promised - data_bytes, [
            (problem, "if the header belongs to a smaller volume, reconstruct it again")
        ]
    return promised - data_bytes, []


def _stack(header: np.void) -> str:
    """Return a description of the stack that the space group indicates; see the format's notes on ISPG and MZ."""
    space_group, sections, interval = (int(header[name]) for name in ("ispg", "nz", "mz"))
    if space_group == 0 and interval == 1 and sections > 1:
        return f"a stack of {sections} images (space group 0, mz 1)"
    if space_group >= _STACK_OF_VOLUMES and 0 < interval < sections:
        return f"a stack of {sections // interval} volumes (space group {space_group}, mz {interval})"
    return ""


def _read_block(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as stream:
            block = stream.read(HEADER_BYTES)
            size = stream.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="correct the path") from None
    except IsADirectoryError:
        raise FileError("is a directory", file=path, remedy="give the MRC file in it") from None
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
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


def _interpret(path: Path, block: bytes, size: int) -> np.void:
    """Return the header in the byte order with plausible values; if both are plausible, the stamp decides."""
    little, big = (np.frombuffer(block, HEADER_DTYPE.newbyteorder(order))[0] for order in (_LITTLE, _BIG))
    stamped_big = bytes(big["machst"])[:2] == b"\x11\x11"
    candidates = (big, little) if stamped_big else (little, big)
    for header in candidates:
        if _makes_sense(header, size):
            return header
    header = candidates[0]
    if block[208:211] != b"MAP":
        raise FileError(
            "is not an MRC file: no 'MAP' stamp, and the sizes in its header are impossible",
            file=path,
            remedy="give a volume in MRC format",
        )
    raise FileError(
        f"its header has impossible values: {header['nx']} x {header['ny']} x {header['nz']} voxels (x, y, z), "
        f"mode {header['mode']}, extended header of {header['nsymbt']} bytes",
        file=path,
        remedy="copy or reconstruct it again",
    )


def _makes_sense(header: np.void, size: int) -> bool:
    sizes = [int(header[name]) for name in ("nx", "ny", "nz")]
    mode = int(header["mode"])
    if not all(0 < side < 2**24 for side in sizes) or mode not in {*DTYPES, *UNREADABLE_MODES}:
        return False
    stale = mode in DTYPES and size == HEADER_BYTES + math.prod(sizes) * DTYPES[mode].itemsize
    return stale or 0 <= int(header["nsymbt"]) < 2**30


def _byte_type(
    path: Path, header: np.void, offset: int, voxels: int
) -> tuple[np.dtype[Any], list[tuple[str, str]]]:
    """Return the type of mode 0: unsigned as IMOD wrote it before 2012, or signed as in the standard; and remarks.

    IMOD marks the type by a flag after its stamp: https://bio3d.colorado.edu/imod/doc/mrc_format.txt. Without the
    stamp, the type follows from the minimum and maximum in the header, or from the histogram of the voxels.
    """
    signed, unsigned = np.dtype("i1"), np.dtype("u1")
    integers = np.frombuffer(header["extra2"].tobytes(), header.dtype["nx"])
    if int(integers[10]) == _IMOD_STAMP:
        return (signed if int(integers[11]) & 1 else unsigned), []
    low, high = float(header["dmin"]), float(header["dmax"])
    if low >= 0 and 127 < high <= 255:
        return unsigned, []
    if -128 <= low < 0 and low < high <= 127:
        return signed, []
    counts = np.bincount(_sample(path, offset, voxels), minlength=256)
    if counts.sum() < _FEWEST_BYTES:
        return signed, []
    narrower = _variance(counts, signed) / max(_variance(counts, unsigned), 1e-6)
    if narrower > 1.25:
        problem = (
            "its header does not state whether bytes are signed; by their histogram they are read as 0 to 255"
        )
        return unsigned, [(problem, "view a slice; if it is wrong, convert the original to 16 bits")]
    if narrower > 0.8 and counts[126:130].all() and counts[[254, 255, 1]].all():
        problem = (
            "neither its header nor its histogram show whether bytes are signed; they are read as -128 to 127"
        )
        return signed, [(problem, "view a slice; if it is wrong, convert the original to 16 bits")]
    return signed, []


def _sample(path: Path, offset: int, voxels: int) -> np.ndarray:
    """Return about a million bytes from positions across the whole volume."""
    parts = min(64, max(1, voxels // _FEWEST_BYTES))
    each = min(voxels // parts, _SAMPLE_BYTES // parts)
    with path.open("rb") as stream:
        read = []
        for part in range(parts):
            stream.seek(offset + part * (voxels // parts))
            read.append(stream.read(each))
    return np.frombuffer(b"".join(read), np.uint8)


def _variance(counts: np.ndarray, dtype: np.dtype[Any]) -> float:
    """Return the variance of bytes read as `dtype`; the wrong type splits the histogram and increases the variance.

    Zeros, which may be padding, and the extremes of both types, which may be clipped values, are left out.
    """
    inner = counts.astype(float)
    inner[[0, 127, 128, 255]] = 0
    if inner.sum() == 0:
        return 0.0
    values = np.arange(256, dtype=np.uint8).astype(dtype).astype(float)
    mean = np.average(values, weights=inner)
    return float(np.average((values - mean) ** 2, weights=inner))


def _voxel_size(header: np.void) -> tuple[tuple[float, float, float], str]:
    sizes = []
    for axis in "xyz":
        length, count = float(header["cella"][axis]), int(header["m" + axis])
        sizes.append(length / count if count > 0 and math.isfinite(length) else 0.0)
    xyz = (sizes[0], sizes[1], sizes[2])
    shown = size_text(xyz, ".4g")
    if min(xyz) <= 0:
        return xyz, f"voxel size in the header is {shown} A, which means unknown"
    if max(xyz) > 1.01 * min(xyz):
        return xyz, f"voxel size in the header differs between the axes: {shown} A (x, y, z)"
    if all(abs(size - 1) < 1e-4 for size in xyz):
        return xyz, "voxel size in the header is 1 A, which most programs write if it is unknown"
    if not 0.1 <= xyz[0] <= 1000:
        return xyz, f"voxel size in the header is {shown} A, which is impossible"
    return xyz, ""
