"""The boxes of a cluster as band-limited, noise-weighted Fourier coefficients, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.averaging.band import Band
from cryopipe.volume.wedge import measured

BATCH_BYTES = 256 * 2**20
"""Memory that the temporary arrays of one batch may take."""


class Boxes(Protocol):
    """Anything that holds (n, z, y, x) boxes and hands out chosen ones: an array or a box file."""

    def __len__(self) -> int:
        """Return the number of boxes."""
        ...

    def __getitem__(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the boxes of these indices."""
        ...


class ChosenBoxes:
    """Some boxes of a larger collection, read when they are asked for.

    Parameters
    ----------
    boxes
        The collection.
    chosen
        (n,) which of its boxes, in the order wanted.
    """

    def __init__(self, boxes: Boxes, chosen: NDArray[np.intp]) -> None:
        self.boxes, self.chosen = boxes, np.asarray(chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        return self.boxes[self.chosen[indices]]


class Spectra:
    """Boxes with their tilt ranges, seen through a band.

    Parameters
    ----------
    boxes
        (n, z, y, x), particles bright; cubes.
    tilt_ranges
        (n, 2) lowest and highest tilt, degrees.
    device
        Where coefficients are computed.
    """

    def __init__(self, boxes: Boxes, tilt_ranges: NDArray[np.float64], device: torch.device) -> None:
        self.boxes, self.device = boxes, device
        ranges = np.asarray(tilt_ranges, dtype=np.float64).reshape(-1, 2)
        if len(ranges) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes but {len(ranges)} tilt ranges")
        self.schemes, which = np.unique(ranges, axis=0, return_inverse=True)
        self.scheme_of_box = torch.from_numpy(which.reshape(-1)).to(device)
        first = self.volumes(np.array([0]))
        self.box_size = int(first.shape[-1])
        if tuple(first.shape) != (1, *(self.box_size,) * 3):
            raise ValueError(f"boxes must be cubes, not {tuple(first.shape[1:])}")

    def __len__(self) -> int:
        return len(self.boxes)

    def volumes(self, indices: NDArray[np.intp]) -> Tensor:
        """Return (m, z, y, x) boxes of mean 0 on the device."""
        boxes = torch.from_numpy(np.ascontiguousarray(self.boxes[indices], dtype=np.float32)).to(self.device)
        return boxes - boxes.mean(dim=(1, 2, 3), keepdim=True)

    def measured(self, band: Band) -> Tensor:
        """Return (schemes, K) 1 where each tilt scheme has measured."""
        return torch.stack([measured(band.frequencies, (low, high)) for low, high in self.schemes.tolist()])

    def coefficients(self, indices: NDArray[np.intp], band: Band, wedges: Tensor) -> Tensor:
        """Return (m, K) coefficients, 0 where not measured; `wedges` are those of `measured`."""
        return band.coefficients(self.volumes(indices)) * wedges[self.scheme_of_box[indices]]


def batches(indices: NDArray[np.intp], bytes_per_item: int) -> Iterator[NDArray[np.intp]]:
    """Split `indices` so that a batch's arrays stay within the memory set aside for them."""
    size = int(max(1, min(256, BATCH_BYTES // max(1, bytes_per_item))))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
