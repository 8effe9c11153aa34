"""What a learner is, and how to get one by name."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe.boxes import Boxes
from cryopipe.features.options import FeatureOptions


class Learner(ABC):
    """Turns boxes into features in which particles of one kind lie together.

    Parameters
    ----------
    options
        The config's section `features`.
    device
        Where to compute.
    seed
        Same seed, same features.
    memory_gb
        Ceiling for the boxes that stay on the device and the maps made from them, gigabytes.
    """

    def __init__(
        self, options: FeatureOptions, device: torch.device, seed: int, memory_gb: float = 4.0
    ) -> None:
        self.options, self.device, self.seed, self.memory_gb = options, device, seed, memory_gb

    @abstractmethod
    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Learn from `boxes` (n, z, y, x), mean 0 and standard deviation 1 each, particles bright.

        Parameters
        ----------
        boxes
            An array or a `BoxStack`.
        labels
            (n,) true classes, -1 where unknown, for learners that are trained with labels; the others ignore them.
        checkpoint
            File for the state of the training after every iteration. If it holds the state of the same
            training (options, seed and boxes), training goes on from there.

        Returns
        -------
        The history: one row per iteration.
        """

    @abstractmethod
    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return features (n, d) of `boxes` (n, z, y, x); each depends on its own box alone."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner's weights."""

    @abstractmethod
    def load(self, path: str | os.PathLike[str]) -> None:
        """Take over weights that `save` wrote.

        Raises
        ------
        FileError
            If the file does not hold weights of this kind of learner.
        """


def no_history() -> pd.DataFrame:
    """Return the history of a learner that is not trained: no rows."""
    return pd.DataFrame({"iteration": pd.Series(dtype=int)})
