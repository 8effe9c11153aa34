"""Boxes reduced to fewer, larger voxels, for networks that are trained faster and see less noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.boxes import Boxes, BoxView
from cryopipe.volume.fourier import fourier_rescale


class ReducedBoxes(BoxView):
    """View of boxes with the same extent and fewer voxels, mean 0 and standard deviation 1 each.

    Parameters
    ----------
    boxes
        (n, z, y, x), cubes.
    size
        Voxels along every edge of the reduced boxes, at most as many as before.
    """

    def __init__(self, boxes: Boxes, size: int) -> None:
        super().__init__(boxes)
        self._size = size
        self._factor = self.shape[-1] / size
        self.shape = (len(boxes), size, size, size)

    @property
    def voxel_size(self) -> float | None:
        """Voxel size of the reduced boxes, angstrom; None if unknown."""
        before = super().voxel_size
        return None if before is None else before * self._factor

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the reduced boxes at `indices`, (m, z, y, x)."""
        boxes = torch.from_numpy(np.asarray(self._boxes[indices], np.float32))
        reduced = fourier_rescale(boxes, 1.0, self._factor, self._size).numpy()
        reduced -= reduced.mean(axis=(-3, -2, -1), keepdims=True)
        return reduced / np.maximum(reduced.std(axis=(-3, -2, -1), keepdims=True), 1e-6)


def reduced_boxes(boxes: Boxes, size: int | None) -> Boxes:
    """Return `boxes` reduced to `size` voxels along every edge; unchanged if `size` is None or not smaller."""
    return boxes if size is None or size >= boxes.shape[-1] else ReducedBoxes(boxes, size)
