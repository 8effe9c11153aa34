"""Interfaces and views of boxes: an array, a stack on disk, a selection, or shifted boxes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryopipe.volume.windows import overlap_windows


class Boxes(Protocol):
    """An array (n, z, y, x), or a stack of boxes on disk that is indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, z, y, x)."""
        ...

    def __len__(self) -> int:
        """Return the number of boxes."""
        ...

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the boxes at `indices`, (m, z, y, x)."""
        ...


class TiltBoxes(Boxes, Protocol):
    """Boxes with the tilt range of the tomogram of each."""

    @property
    def tilt_ranges(self) -> NDArray[np.float64]:
        """(n, 2) lowest and highest tilt of each box's tomogram, degrees, or (n, 3) if the tilt axis is x for some.

        See `cryopipe.volume.wedge.tilt_schemes`.
        """
        ...


def voxel_size_of(boxes: Boxes) -> float | None:
    """Return the voxel size of `boxes`, angstrom, or None if they do not know it, as plain arrays."""
    size = getattr(boxes, "voxel_size", None)
    return None if size is None else float(size)


def name_of(boxes: Boxes, index: int) -> str:
    """Return the name of the particle of box `index`, or its number from 1 if the boxes have no names."""
    names = getattr(boxes, "names", None)
    return f"number {index + 1}" if names is None else repr(names[index])


class ChosenBoxes:
    """Selection of boxes from a larger collection, read on access.

    Parameters
    ----------
    boxes
        The collection.
    chosen
        (n,) indices of the selected boxes, in the order of the selection.
    """

    def __init__(self, boxes: TiltBoxes, chosen: NDArray[np.intp]) -> None:
        self.boxes, self.chosen = boxes, np.asarray(chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, z, y, x)."""
        return (len(self.chosen), *self.boxes.shape[1:])

    @property
    def tilt_ranges(self) -> NDArray[np.float64]:
        """(n, 2) or (n, 3) tilts of each box's tomogram; see `TiltBoxes`."""
        return self.boxes.tilt_ranges[self.chosen]

    @property
    def voxel_size(self) -> float | None:
        """Voxel size, angstrom; None if unknown."""
        return voxel_size_of(self.boxes)

    @property
    def names(self) -> list[str] | None:
        """(n,) names of the particles; None if the boxes have none."""
        names = getattr(self.boxes, "names", None)
        return None if names is None else [names[index] for index in self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the boxes at `indices`, (m, z, y, x)."""
        return self.boxes[self.chosen[indices]]


class BoxView:
    """View of boxes that changes their values on access; base class.

    Parameters
    ----------
    boxes
        (n, z, y, x).
    """

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self.shape = tuple(boxes.shape)

    @property
    def tilt_ranges(self) -> NDArray[np.float64]:
        """(n, 2) or (n, 3) tilts of each box's tomogram, if the boxes have them; see `TiltBoxes`."""
        ranges: NDArray[np.float64] = self._boxes.tilt_ranges  # type: ignore[attr-defined]
        return ranges

    @property
    def voxel_size(self) -> float | None:
        """Voxel size, angstrom; None if unknown."""
        return voxel_size_of(self._boxes)

    @property
    def names(self) -> list[str] | None:
        """(n,) names of the particles; None if the boxes have none."""
        return getattr(self._boxes, "names", None)

    def __len__(self) -> int:
        return len(self._boxes)


class ShiftedBoxes(BoxView):
    """Boxes shifted by whole voxels; voxels from outside the box are noise of mean 0 and standard deviation 1.

    Parameters
    ----------
    boxes
        (n, z, y, x).
    shifts_voxels
        (n, 3) x, y, z; the voxel at box_size // 2 plus the shift becomes the centre.
    """

    def __init__(self, boxes: Boxes, shifts_voxels: NDArray[np.int64]) -> None:
        super().__init__(boxes)
        self._shifts = shifts_voxels

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the shifted boxes at `indices`, an array or slice: (m, z, y, x)."""
        numbers = np.arange(len(self))[indices]
        originals = np.asarray(self._boxes[numbers], np.float32)
        shifted = np.empty_like(originals)
        for number, original, target in zip(numbers, originals, shifted, strict=True):
            # Seeded by the particle's index, so that a box is the same on every access.
            target[:] = np.random.default_rng(int(number)).standard_normal(original.shape, np.float32)
            sources, targets = overlap_windows(self._shifts[number][::-1], original.shape, original.shape)
            target[targets] = original[sources]
        return shifted


class ArrayBoxes:
    """Boxes in memory that know their voxel size and the tilt ranges of their tomograms.

    Parameters
    ----------
    boxes
        (n, z, y, x).
    tilt_ranges
        (n, 2) or (n, 3) tilts of each box's tomogram, or (2,) or (3,) for all; see `TiltBoxes`.
    voxel_size
        Angstrom; None if unknown.
    """

    def __init__(
        self, boxes: NDArray[np.float32], tilt_ranges: ArrayLike, voxel_size: float | None = None
    ) -> None:
        self.boxes, self.voxel_size = boxes, voxel_size
        ranges = np.asarray(tilt_ranges, float)
        self.tilt_ranges = np.broadcast_to(ranges, (len(boxes), ranges.shape[-1]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, z, y, x)."""
        return self.boxes.shape

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the boxes at `indices`, (m, z, y, x)."""
        return self.boxes[indices]
