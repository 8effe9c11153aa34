"""Source of boxes on the device: all in memory if they fit, otherwise read batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes, name_of
from cryopipe.errors import LearningError

logger = logging.getLogger(__name__)

RESIDENT_FRACTION = 0.5
"""Fraction of the memory limit for boxes; the network's maps need the rest."""
_VOXELS_AT_ONCE = 4_000_000


class BoxSource:
    """Provides batches of boxes on the device, in single precision, rounded to half precision.

    Parameters
    ----------
    boxes
        (n, z, y, x) array or stack.
    device
        Device of the batches.
    memory_gb
        Memory limit, gigabytes. If the boxes in half precision take at most `RESIDENT_FRACTION` of it, they are
        read once and stay on the device. Otherwise every batch is read while the previous one is processed,
        its boxes in the order of the files. The numbers are the same either way.
    """

    def __init__(self, boxes: Boxes, device: torch.device, memory_gb: float) -> None:
        self.device = device
        self.memory_gb = memory_gb
        self.count = len(boxes)
        self._boxes = boxes
        self.box_shape = tuple(boxes.shape[1:])
        self.box_voxels = int(np.prod(self.box_shape))
        size = 2.0 * self.count * self.box_voxels
        self.resident: Tensor | None = None
        if size <= RESIDENT_FRACTION * memory_gb * 1e9:
            self.resident = torch.empty(tuple(boxes.shape), dtype=torch.float16, device=device)
            at_once = max(1, _VOXELS_AT_ONCE // max(1, self.box_voxels))
            for start in range(0, self.count, at_once):
                part = slice(start, start + at_once)
                self.resident[part] = self._read(np.arange(self.count)[part]).to(device)
        else:
            logger.info(
                "%s boxes take %.2g GB in half precision, more than half of memory_gb: they are read batch by batch",
                f"{self.count:,}",
                size / 1e9,
            )

    def batch(self, indices: Tensor) -> Tensor:
        """Return the boxes at `indices` (m,) as a tensor (m, z, y, x) on the device."""
        if self.resident is not None:
            return self.resident[indices.to(self.device)].float()
        return self._read(indices.cpu().numpy()).to(self.device).float()

    def _read(self, indices: NDArray[np.int64]) -> Tensor:
        """Return the boxes at `indices` (m,) in half precision, on the CPU."""
        boxes = torch.from_numpy(np.asarray(self._boxes[indices], np.float32)).half()
        finite = torch.isfinite(boxes).flatten(1).all(dim=1)
        if not bool(finite.all()):
            name = name_of(self._boxes, int(indices[int((~finite).nonzero()[0])]))
            raise LearningError(
                f"the box of particle {name} contains values that are not finite in half precision",
                remedy="run `cryopipe check` on its tomogram, or remove the particle",
            )
        return boxes

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the boxes of each of `parts`, indices (m,), in order."""
        if self.resident is not None or not parts:
            yield from map(self.batch, parts)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="read ahead") as reader:
            coming = reader.submit(self.batch, parts[0])
            for following in parts[1:]:
                boxes, coming = coming.result(), reader.submit(self.batch, following)
                yield boxes
            yield coming.result()
