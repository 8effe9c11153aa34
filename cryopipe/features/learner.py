"""Base class of the learners."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe.boxes import Boxes
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.options import FeatureOptions


class Learner(ABC):
    """Computes features from boxes such that particles of one species have similar features.

    Parameters
    ----------
    options
        The config's section `features`.
    device
        Device to compute on.
    seed
        Seed of the random numbers; the same seed gives the same features.
    memory_gb
        Memory limit of the boxes on the device and the maps computed from them, gigabytes.

    Attributes
    ----------
    class_names
        Names of the K classes of the labels, if there are any; set before `fit`.
    """

    def __init__(
        self, options: FeatureOptions, device: torch.device, seed: int, memory_gb: float = 4.0
    ) -> None:
        self.options, self.device, self.seed, self.memory_gb = options, device, seed, memory_gb
        self.class_names: tuple[str, ...] = ()

    @abstractmethod
    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Train on `boxes` (n, z, y, x), mean 0 and standard deviation 1 each, particles bright.

        Parameters
        ----------
        boxes
            An array or a `BoxStack`.
        labels
            (n,) classes 0..K-1, -1 where unknown, for learners that use labels; the others ignore them.
        checkpoint
            File of the state of training, written after every iteration. If it belongs to the same run
            (options, seed and boxes), training resumes from it.

        Returns
        -------
        The history: one row per iteration.
        """

    @abstractmethod
    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return features (n, d) of `boxes` (n, z, y, x); the features of a box depend on that box only."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner's weights."""

    @abstractmethod
    def load(self, path: str | os.PathLike[str]) -> None:
        """Read weights that `save` wrote.

        Raises
        ------
        FileError
            If the file does not contain weights of this learner.
        """

    def decode(
        self, features: NDArray[np.float32], poses: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32] | None:
        """Return the boxes (m, z, y, x) that belong to `features` (m, d); None if the learner generates no boxes.

        `poses` (m, p) are used by learners that have `poses`; without them, all boxes have the mean pose of the training.
        """
        return None

    def poses(self, boxes: Boxes) -> NDArray[np.float32] | None:
        """Return the learned poses (n, p) of `boxes` (n, z, y, x), which are no features; None if there are none."""
        return None

    def classify(self, boxes: Boxes) -> ClassProbabilities | None:
        """Return the classes of `boxes` (n, z, y, x) by a classifier that `fit` trained with labels.

        If `fit` was given labels, the boxes are those of the same particles, possibly centred. None if the learner has no
        classifier: then particles are classified by the prototypes of the labelled ones in its features.
        """
        return None


def no_history() -> pd.DataFrame:
    """Return an empty history, for learners without training."""
    return pd.DataFrame({"iteration": pd.Series(dtype=int)})
