"""Stacks of subtomograms on disk: one HDF5 file per tomogram, one box per chunk.

A file contains `boxes` (n, z, y, x) in half precision, `particle` (n,) names in UTF-8, and the attributes
box_size (voxels), voxel_size (angstrom), tilt_min, tilt_max (degrees), tilt_axis ("y" or "x") and tomogram (name). Boxes are not
compressed, because noise does not compress and uncompressed boxes are faster to read in random order.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryopipe.errors import DataError, FileError
from cryopipe.files.atomic import atomic_path
from cryopipe.files.hdf5 import DeferredErrorFile
from cryopipe.tomograms import ABOUT_X

OPEN_FILES = 128
"""Largest number of files that one stack keeps open; many systems allow a process 1024."""
_REMEDY = "delete it and run extract_subtomograms again"


class BoxWriter:
    """Writer of one tomogram's boxes; the file exists under its name after the context ends without an error.

    Parameters
    ----------
    path
        The HDF5 file to write.
    box_size
        Voxels along every edge.
    voxel_size
        Voxel size of the boxes, angstrom.
    tilt_range
        Tilts of the tomogram, degrees; see `cryopipe.volume.wedge.measured`.
    tomogram
        The tomogram's name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        box_size: int,
        voxel_size: float,
        tilt_range: Sequence[float],
        tomogram: str,
    ) -> None:
        self.path = Path(path)
        self.box_size = box_size
        self._attributes = {
            "box_size": box_size,
            "voxel_size": voxel_size,
            "tilt_min": tilt_range[0],
            "tilt_max": tilt_range[1],
            "tilt_axis": "x" if tuple(tilt_range[2:]) == (ABOUT_X,) else "y",
            "tomogram": tomogram,
        }
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            temporary = resources.enter_context(atomic_path(self.path))
            self._stream = resources.enter_context(DeferredErrorFile(temporary))
            resources.callback(self._stream.raise_failure)
            file = resources.enter_context(h5py.File(self._stream, "w"))
            file.attrs.update(self._attributes)
            shape = (self.box_size,) * 3
            self._boxes = file.create_dataset(
                "boxes", (0, *shape), "f2", maxshape=(None, *shape), chunks=(1, *shape)
            )
            self._names = file.create_dataset("particle", (0,), h5py.string_dtype(), maxshape=(None,))
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.__exit__(kind, error, trace)

    def append(self, boxes: ArrayLike, names: Sequence[str]) -> None:
        """Add `boxes`, an array (n, z, y, x), and the particles' `names` (n,) at the end of the file.

        Raises
        ------
        DataError
            If a box contains NaN, an infinite value, or a value too large for half precision.
        OSError
            If the disk is full; the end of the context turns it into a `FileError`.
        ValueError
            If shapes or lengths do not match.
        """
        values = np.asarray(boxes)
        if values.shape != (len(names), *(self.box_size,) * 3):
            raise ValueError(
                f"boxes of shape {values.shape} for {len(names)} names, box size {self.box_size}"
            )
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        finite = np.isfinite(half).all(axis=(1, 2, 3))
        if not finite.all():
            raise DataError(
                f"the box of particle {names[int(np.argmin(finite))]!r} contains values that are not finite "
                "in half precision",
                file=self.path,
                remedy="run `cryopipe check` on its tomogram",
            )
        start = len(self._names)
        self._boxes.resize(start + len(names), axis=0)
        self._names.resize(start + len(names), axis=0)
        if len(names):
            self._boxes[start:] = half
            self._names[start:] = list(names)
        self._stream.raise_failure()


@dataclass(frozen=True)
class _BoxFile:
    """Attributes and particle names of one file."""

    path: Path
    box_size: int
    voxel_size: float
    tilts: tuple[float, float, float]
    tomogram: str
    names: tuple[str, ...]


class BoxStack:
    """Boxes of several files, joined in the files' order and read on access.

    Forked or spawned worker processes can use it: each opens its own files.

    Parameters
    ----------
    paths
        HDF5 files written by `BoxWriter`, at least one, all with the same box size and voxel size.

    Attributes
    ----------
    box_size
        Voxels along every edge.
    voxel_size
        Angstrom.
    names
        Names of the particles, (n,).
    tomograms
        Names of the particles' tomograms, (n,).
    tilt_ranges
        Lowest and highest tilt of the particles' tomograms, degrees, (n, 2), or (n, 3) if the tilt axis is x for some;
        see `cryopipe.volume.wedge.tilt_schemes`.

    Raises
    ------
    FileError
        If a file is missing, damaged or not a stack of boxes.
    DataError
        If the files' box sizes or voxel sizes differ.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        if not paths:
            raise ValueError("a stack of boxes needs at least one file")
        self._files = [_read_head(Path(path)) for path in paths]
        first = self._files[0]
        for file in self._files[1:]:
            _check_agreement(first, file)
        self.box_size = first.box_size
        self.voxel_size = first.voxel_size
        counts = [len(file.names) for file in self._files]
        self._starts = np.concatenate(([0], np.cumsum(counts)))
        self.names = [name for file in self._files for name in file.names]
        self.tomograms = [file.tomogram for file in self._files for _ in file.names]
        tilts = np.repeat(np.array([file.tilts for file in self._files], dtype=float), counts, axis=0)
        self.tilt_ranges: NDArray[np.float64] = tilts if tilts[:, 2].any() else tilts[:, :2]
        self._handles: OrderedDict[int, h5py.File] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the whole stack, (n, z, y, x)."""
        return (len(self), self.box_size, self.box_size, self.box_size)

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the boxes `indices` in single precision: (m, z, y, x), or (z, y, x) for one integer.

        Parameters
        ----------
        indices
            Index of a numpy array of n elements: integer, slice, integers or booleans.
        """
        selected = np.arange(len(self))[indices]
        flat = np.atleast_1d(selected)
        boxes = np.empty((len(flat), *self.shape[1:]), dtype=np.float32)
        order = np.argsort(flat, kind="stable")
        for run in _runs(flat[order], self._starts):
            number = int(np.searchsorted(self._starts, flat[order[run[0]]], side="right")) - 1
            local = flat[order[run]] - self._starts[number]
            dataset = self._handle(number)["boxes"]
            boxes[order[run]] = dataset[local[0] : local[-1] + 1][local - local[0]]
        return boxes if selected.ndim else boxes[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": OrderedDict()}

    def close(self) -> None:
        """Close the open files; they are opened again on access."""
        while self._handles:
            self._handles.popitem()[1].close()

    def _handle(self, number: int) -> h5py.File:
        if self._process != os.getpid():
            # A forked child shares the file positions of its parent until it opens the files itself.
            self.close()
            self._process = os.getpid()
        if number not in self._handles:
            if len(self._handles) >= OPEN_FILES:
                self._handles.popitem(last=False)[1].close()
            self._handles[number] = _open(self._files[number].path)
        self._handles.move_to_end(number)
        return self._handles[number]


def _runs(indices: NDArray[np.int64], starts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split ascending `indices` into runs of consecutive (or equal) indices in one file; return positions per run."""
    if not len(indices):
        return []
    files = np.searchsorted(starts, indices, side="right")
    breaks = np.flatnonzero((np.diff(indices) > 1) | (np.diff(files) > 0)) + 1
    return np.split(np.arange(len(indices)), breaks)


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="run extract_subtomograms") from None
    except OSError as error:
        raise FileError(f"not a readable HDF5 file ({error})", file=path, remedy=_REMEDY) from error


def _read_head(path: Path) -> _BoxFile:
    with _open(path) as file:
        try:
            head = _BoxFile(
                path,
                int(file.attrs["box_size"]),
                float(file.attrs["voxel_size"]),
                (
                    float(file.attrs["tilt_min"]),
                    float(file.attrs["tilt_max"]),
                    ABOUT_X if file.attrs.get("tilt_axis") == "x" else 0.0,
                ),
                str(file.attrs["tomogram"]),
                tuple(file["particle"].asstr()[:]),
            )
            shape = tuple(file["boxes"].shape)
        except KeyError as error:
            raise FileError(f"not a stack of boxes ({error.args[0]})", file=path, remedy=_REMEDY) from error
    expected = (len(head.names), *(head.box_size,) * 3)
    if shape != expected:
        raise FileError(f"boxes of shape {shape} where {expected} was expected", file=path, remedy=_REMEDY)
    return head


def _check_agreement(first: _BoxFile, other: _BoxFile) -> None:
    if other.box_size != first.box_size or not np.isclose(other.voxel_size, first.voxel_size, rtol=1e-6):
        raise DataError(
            f"boxes of {other.box_size} voxels of {other.voxel_size:g} A, but {first.path} has "
            f"{first.box_size} voxels of {first.voxel_size:g} A",
            file=other.path,
            remedy="extract all tomograms with the same box_size and voxel_size",
        )
