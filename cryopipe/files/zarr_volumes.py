"""OME-Zarr volumes, read chunk by chunk; the package zarr is an optional dependency (`pip install cryopipe[zarr]`)."""

from __future__ import annotations

import importlib
import itertools
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import FileError, reading_fault
from cryopipe.files.mrc_header import MrcHeader

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
"""Files of which a Zarr array or group has at least one."""
CACHE_BYTES = 512 * 2**20
"""Largest size of the chunks that are kept in memory."""
_ANGSTROM = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4, "millimeter": 1e7, "meter": 1e10}
_REMEDY = "give the folder NAME.zarr of an OME-Zarr volume, unchanged, or an MRC file"


class ZarrVolume:
    """A volume (z, y, x) in chunks on disk that is indexed like an array, by integers and slices.

    Parameters
    ----------
    array
        The Zarr array, of three or more dimensions; those before the last three have length 1.

    Attributes
    ----------
    shape, dtype, size, ndim
        As those of an array.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(array.shape[-3:])
        self.dtype = np.dtype(array.dtype)
        self.ndim, self.size = 3, int(np.prod(self.shape))
        self._chunk: tuple[int, ...] = tuple(array.chunks[-3:])
        self._leading = (0,) * (len(array.shape) - 3)
        self._cache: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()
        chunk_bytes = int(np.prod(self._chunk)) * self.dtype.itemsize
        self._most = max(1, CACHE_BYTES // chunk_bytes)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the voxels at integers and slices along z, y and x."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys = (*keys[:at], *[slice(None)] * (4 - len(keys)), *keys[at + 1 :])
        keys = (*keys, *[slice(None)] * (3 - len(keys)))
        wanted = [np.arange(n)[one] for n, one in zip(self.shape, keys, strict=True)]
        lists = [np.atleast_1d(one) for one in wanted]
        result = np.empty([len(one) for one in lists], self.dtype)
        numbers = [np.unique(one // edge) for one, edge in zip(lists, self._chunk, strict=True)]
        for position in itertools.product(*(part.tolist() for part in numbers)):
            chosen = [
                np.flatnonzero(one // edge == number)
                for one, edge, number in zip(lists, self._chunk, position, strict=True)
            ]
            inside = [
                one[part] - edge * number
                for one, part, edge, number in zip(lists, chosen, self._chunk, position, strict=True)
            ]
            result[np.ix_(*chosen)] = self._read(position)[np.ix_(*inside)]
        return result[tuple(0 if one.ndim == 0 else slice(None) for one in wanted)]

    def _read(self, position: tuple[int, ...]) -> NDArray[Any]:
        """Return a chunk, from memory if it was read lately."""
        if position not in self._cache:
            while len(self._cache) >= self._most:
                self._cache.popitem(last=False)
            spans = [slice(n * edge, (n + 1) * edge) for n, edge in zip(position, self._chunk, strict=True)]
            self._cache[position] = np.asarray(self._array[(*self._leading, *spans)])
        self._cache.move_to_end(position)
        return self._cache[position]


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is the folder of a Zarr array or group."""
    return any(os.path.isfile(os.path.join(path, name)) for name in METADATA)


def resolutions(path: str | os.PathLike[str]) -> list[tuple[Path, float | None]]:
    """Return the arrays of an OME-Zarr volume, one per resolution, with their voxel sizes in angstrom if stated.

    Raises
    ------
    FileError
        If the volume is not OME-Zarr.
    """
    path = Path(path)
    scales = _multiscales(path)
    if not scales:
        raise FileError("is not an OME-Zarr volume: it has no multiscales", file=path, remedy=_REMEDY)
    found = []
    for level in scales[0].get("datasets", []):
        found.append((path / str(level["path"]), _voxel_size(scales[0], level)))
    return found


def read_zarr_header(path: str | os.PathLike[str]) -> MrcHeader:
    """Return shape, type and voxel size of a Zarr array, or of the largest of an OME-Zarr volume, as an MRC header.

    Raises
    ------
    FileError
        If it is not a volume, or the package zarr is not installed.
    """
    path = Path(path)
    array = _open(path)
    size = _size_of(path)
    problem = "" if size else "voxel size is not stated in the metadata of the Zarr volume"
    shape = tuple(int(length) for length in array.shape)
    if len(shape) < 3 or any(length != 1 for length in shape[:-3]) or np.dtype(array.dtype).kind not in "iuf":
        raise FileError(
            f"is an array of shape {shape} and type {array.dtype}, not a volume", file=path, remedy=_REMEDY
        )
    return MrcHeader(
        path=path,
        shape_zyx=(shape[-3], shape[-2], shape[-1]),
        voxel_size=size,
        voxel_size_problem=problem,
        voxel_size_xyz=(size or 0.0,) * 3,
        axes=(1, 2, 3),
        mode=2,
        dtype=np.dtype(array.dtype),
        data_offset=0,
    )


def open_zarr_volume(path: str | os.PathLike[str]) -> ZarrVolume:
    """Open a Zarr array, or the largest array of an OME-Zarr volume, for reading; see `read_zarr_header`."""
    read_zarr_header(path)
    return ZarrVolume(_open(Path(path)))


def _open(path: Path) -> Any:
    try:
        zarr = importlib.import_module("zarr")
    except ImportError:
        raise FileError(
            "is a Zarr volume, and the package zarr is not installed",
            file=path,
            remedy="install it: pip install 'cryopipe[zarr]'",
        ) from None
    try:
        opened = zarr.open(str(path), mode="r")
        if not hasattr(opened, "shape"):
            opened = zarr.open(str(resolutions(path)[0][0]), mode="r")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FileError(
            f"is not a readable Zarr volume ({str(error)[:200]})", file=path, remedy=_REMEDY
        ) from error
    return opened


def _size_of(path: Path) -> float | None:
    """Return the voxel size of a Zarr array, stated by itself or by the group that it is in."""
    if _multiscales(path):
        return resolutions(path)[0][1]
    for group in list(path.parents)[:2]:
        if is_zarr(group) and _multiscales(group):
            return next((size for array, size in resolutions(group) if array == path), None)
    return None


def _multiscales(path: Path) -> list[dict[str, Any]]:
    """Return the descriptions of the resolutions in the metadata of a group, of version 0.4 or 0.5 of OME-Zarr."""
    for name in ("zarr.json", ".zattrs"):
        file = path / name
        if file.is_file():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                attributes = content.get("attributes", {}) if name == "zarr.json" else content
                return list(attributes.get("ome", attributes).get("multiscales", []))
            except OSError as error:
                problem, remedy = reading_fault(error)
                raise FileError(problem, file=file, remedy=remedy) from error
            except (ValueError, AttributeError, TypeError) as error:
                raise FileError(f"is not readable ({str(error)[:100]})", file=file, remedy=_REMEDY) from error
    return []


def _voxel_size(scales: dict[str, Any], level: dict[str, Any]) -> float | None:
    """Return the mean of the scales along z, y, x, angstrom."""
    factors = np.ones(3)
    transformed = False
    for step in [*level.get("coordinateTransformations", []), *scales.get("coordinateTransformations", [])]:
        if step.get("type") == "scale":
            factors, transformed = factors * np.array(step["scale"][-3:], dtype=float), True
    units = [axis.get("unit") for axis in scales.get("axes", [])[-3:] if isinstance(axis, dict)]
    size = float(factors.mean()) * _ANGSTROM.get(str(units[0] if units else None), 1.0)
    return size if transformed and 0.1 <= size <= 1000 else None
