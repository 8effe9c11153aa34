"""Gaussian smoothing of boxes, which removes noise beyond the resolution of a single particle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes, BoxView

_VOXELS_AT_ONCE = 4_000_000


def smooth(boxes: Tensor, deviation: float) -> Tensor:
    """Return boxes (n, z, y, x) convolved with a Gaussian of standard deviation `deviation`, voxels.

    Outside the boxes the density is 0, their mean.
    """
    result = boxes
    for axis, size in enumerate(boxes.shape[1:], start=1):
        positions = torch.arange(size, device=boxes.device, dtype=boxes.dtype)
        kernel = torch.exp(-0.5 * ((positions[:, None] - positions[None]) / deviation).square())
        kernel = kernel / (deviation * (2 * torch.pi) ** 0.5)
        result = (result.transpose(axis, -1) @ kernel).transpose(axis, -1)
    return result


class SmoothedBoxes(BoxView):
    """Boxes that are smoothed and scaled to mean 0 and standard deviation 1, on access, a few at a time.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0.
    deviation
        Standard deviation of the Gaussian, voxels; at least 0.5, because voxels cannot represent a narrower one.
    device
        Device to compute on.
    """

    def __init__(self, boxes: Boxes, deviation: float, device: torch.device) -> None:
        super().__init__(boxes)
        self._deviation, self._device = deviation, device

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the smoothed boxes at `indices`, an array or slice: (m, z, y, x)."""
        originals = torch.from_numpy(np.asarray(self._boxes[indices], np.float32))
        at_once = max(1, _VOXELS_AT_ONCE // max(1, int(np.prod(self.shape[1:]))))
        parts = [self._smoothed(part.to(self._device)).cpu() for part in originals.split(at_once)]
        return torch.cat(parts).numpy()

    def _smoothed(self, boxes: Tensor) -> Tensor:
        smoothed = smooth(boxes, self._deviation)
        smoothed = smoothed - smoothed.mean(dim=(1, 2, 3), keepdim=True)
        return smoothed / smoothed.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
