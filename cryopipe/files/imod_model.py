"""IMOD models of points drawn as spheres (https://bio3d.colorado.edu/imod/doc/binspec.html).

All numbers are big-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import FileError
from cryopipe.files.atomic import atomic_path
from cryopipe.files.whole_file import read_bytes

_MODEL = struct.Struct(">128s3iiI4i3f3f5if2i3f")
_OBJECT = struct.Struct(">64s16IiIii3fi8B2i")
_CONTOUR = struct.Struct(">iIii")
_MODERN = 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13
"""Flags of models that 3dmod writes; with bit 10, z counts from the centre of the first section."""
_SCATTERED = 1 << 9
_NANOMETRES = -9


@dataclass(frozen=True)
class ModelObject:
    """An object of scattered points.

    Attributes
    ----------
    name
        Shown by 3dmod; at most 63 bytes.
    points
        (n, 3) x, y, z in IMOD's coordinates: the first voxel's centre is (0.5, 0.5, 0).
    radius
        Of the spheres, voxels.
    colour
        Red, green and blue, 0 to 1.
    """

    name: str
    points: NDArray[np.float64]
    radius: float
    colour: tuple[float, float, float] = (0.0, 1.0, 0.0)


def write_imod_model(
    path: str | os.PathLike[str],
    objects: Sequence[ModelObject],
    shape_zyx: tuple[int, int, int],
    voxel_size: float,
) -> None:
    """Write a model atomically; every object is one contour of points, with the radius of each sphere.

    Parameters
    ----------
    path
        The .mod file.
    objects
        At least one, each with any number of points.
    shape_zyx
        Voxels of the tomogram.
    voxel_size
        Angstrom.
    """
    z, y, x = shape_zyx
    parts = [b"IMODV1.2"]
    parts.append(
        _MODEL.pack(
            *(b"particles", x, y, z, len(objects), _MODERN, 1, 2, 0, 255, 0, 0, 0, 1, 1, 1, 0, 0, -1, 3, 128),
            *(voxel_size / 10, _NANOMETRES, 0, 0, 0, 0),
        )
    )
    for one in objects:
        points = np.asarray(one.points, dtype=np.float64).reshape(-1, 3)
        name = one.name.encode("utf-8")[:63]
        radius = max(1, round(one.radius))
        parts.append(
            b"OBJT"
            + _OBJECT.pack(
                *(name, *(0,) * 16, 1, _SCATTERED, 0, 1, *one.colour, radius, 1, 3, 1, 1, 0, 0, 0, 0, 0, 0)
            )
        )
        parts.append(b"CONT" + _CONTOUR.pack(len(points), 0, 0, 0) + points.astype(">f4").tobytes())
        sizes = np.full(len(points), one.radius, dtype=">f4").tobytes()
        parts.append(b"SIZE" + struct.pack(">i", len(sizes)) + sizes)
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join([*parts, b"IEOF"]))


def read_imod_model(path: str | os.PathLike[str]) -> list[ModelObject]:
    """Read the objects of a model; the points of all contours of an object are joined, meshes are left out.

    Raises
    ------
    FileError
        If the file cannot be read, is not a model, or is truncated.
    """
    content = read_bytes(path)
    if content[:4] != b"IMOD":
        raise FileError("is not an IMOD model", file=path, remedy="give a .mod file")
    try:
        return _objects(content)
    except struct.error as error:
        raise FileError("is truncated", file=path, remedy="copy it again") from error


def _objects(content: bytes) -> list[ModelObject]:
    at = 8 + _MODEL.size
    heads: list[tuple[str, float]] = []
    points: list[list[NDArray[np.float64]]] = []
    sizes: dict[int, float] = {}
    while (tag := content[at : at + 4]) not in (b"IEOF", b""):
        at += 4
        if tag == b"OBJT":
            head = _OBJECT.unpack_from(content, at)
            heads.append((head[0].split(b"\0")[0].decode("utf-8", "replace"), float(head[24])))
            points.append([])
            at += _OBJECT.size
        elif tag == b"CONT":
            count = _CONTOUR.unpack_from(content, at)[0]
            at += _CONTOUR.size
            found = struct.unpack_from(f">{3 * count}f", content, at)
            points[-1].append(np.array(found, dtype=np.float64).reshape(count, 3))
            at += 12 * count
        elif tag == b"MESH":
            vertices, indices = struct.unpack_from(">2i", content, at)
            at += 16 + 12 * vertices + 4 * indices
        else:
            size = struct.unpack_from(">i", content, at)[0]
            if tag == b"SIZE" and size >= 4:
                sizes[len(heads) - 1] = struct.unpack_from(">f", content, at + 4)[0]
            at += 4 + size
    return [
        ModelObject(name, np.concatenate(parts) if parts else np.zeros((0, 3)), sizes.get(number, radius))
        for number, ((name, radius), parts) in enumerate(zip(heads, points, strict=True))
    ]
