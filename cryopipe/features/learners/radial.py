"""Radial statistics learner: mean and standard deviation of each shell of a box; a baseline without training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import Learner, no_history
from cryopipe.features.training.box_source import BoxSource
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.volume.masks import radius_grid

KIND = "radial statistics"


class RadialStatistics(Learner):
    """Features (n, 2 m): means, then standard deviations, of the m shells within a box; invariant to rotation."""

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Return an empty history; nothing is trained."""
        if self.options.weights not in (None, "random"):
            self.load(self.options.weights)
        return no_history()

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return features (n, 2 m) of `boxes` (n, z, y, x), where m is half the box size."""
        source = BoxSource(boxes, self.device, self.memory_gb)
        network = ShellStatistics(source.box_shape).to(self.device)
        return embed_all(network, source, "measuring shells of boxes").cpu().numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file with the name of the learner; there are no weights."""
        save_weights(path, {}, {"kind": KIND})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Check that `path` is a file of this learner."""
        _, metadata = load_weights(path)
        if metadata.get("kind") != KIND:
            raise FileError(
                f"contains {metadata.get('kind', 'unknown weights')!r}, not {KIND!r}",
                file=path,
                remedy="set features.weights to null for features.learner: radial",
            )


class ShellStatistics(nn.Module):
    """Boxes (n, 1, z, y, x) -> (n, 2 m) means and standard deviations of shells one voxel wide.

    The innermost shell contains all voxels nearer than 1.5 voxels to the centre: one voxel has no standard deviation.

    Parameters
    ----------
    box_shape
        (z, y, x).
    """

    weights: Tensor

    def __init__(self, box_shape: tuple[int, ...]) -> None:
        super().__init__()
        shells = (radius_grid(box_shape).round().long().flatten() - 1).clamp(min=0)
        count = min(box_shape) // 2
        members = torch.stack([shells == shell for shell in range(count)], dim=1).float()
        self.register_buffer("weights", members / members.sum(dim=0))

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the statistics, in single precision because a variance is a difference of large numbers."""
        values = boxes.float().flatten(1)
        with torch.autocast(values.device.type, enabled=False):
            mean = values @ self.weights
            variance = values.square() @ self.weights - mean.square()
        return torch.cat([mean, variance.clamp(min=0).sqrt()], dim=1)
