"""EM files of the TOM toolbox: a header of 512 bytes and an array."""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import FileError
from cryopipe.files.atomic import atomic_path
from cryopipe.files.whole_file import read_bytes

HEADER_SIZE = 512
_PC, _FLOAT32 = 6, 5
_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}


def write_em(path: str | os.PathLike[str], values: NDArray[np.float32]) -> None:
    """Write a (z, y, x) array as little-endian 32-bit numbers, atomically.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    z, y, x = values.shape
    header = struct.pack("<4b3i", _PC, 0, 0, _FLOAT32, x, y, z).ljust(HEADER_SIZE, b"\0")
    with atomic_path(path) as temporary:
        temporary.write_bytes(header + np.ascontiguousarray(values, dtype="<f4").tobytes())


def read_em(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read a (z, y, x) array.

    Raises
    ------
    FileError
        If the file cannot be read, is not an EM file, or is truncated.
    """
    content = read_bytes(path)
    wrong = FileError("is not an EM file", file=path, remedy="give an .em file")
    if len(content) < HEADER_SIZE:
        raise wrong
    machine, _, _, number = struct.unpack("<4b", content[:4])
    order = "<" if machine == _PC else ">"
    shape = struct.unpack(f"{order}3i", content[4:16])[::-1]
    if number not in _TYPES or min(shape) < 0:
        raise wrong
    kind = np.dtype(order + _TYPES[number])
    count = int(np.prod(shape))
    if len(content) < HEADER_SIZE + count * kind.itemsize:
        raise FileError("is truncated", file=path, remedy="copy it again")
    return np.frombuffer(content, kind, count, HEADER_SIZE).reshape(shape).astype(np.float64)
