"""Features of boxes in one call: training, centring of the particles, embedding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe.boxes import Boxes, ShiftedBoxes
from cryopipe.features.centring import Centring, find_centres
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.learner import Learner
from cryopipe.features.options import FeatureOptions
from cryopipe.features.prototypes import classify_by_prototypes
from cryopipe.features.training.distributed import broadcast
from cryopipe.files.features import write_features
from cryopipe.mixtures.components import principal_components
from cryopipe.mixtures.gaussian import choose_mixture
from cryopipe.particle_labels import ParticleLabels

MAX_CLASSES = 8
"""Largest number of classes for centring; more classes have similar profiles."""


@dataclass(frozen=True)
class LearnedFeatures:
    """Features of n particles, with their centring and the history of training.

    Attributes
    ----------
    features
        (n, d) of the centred boxes.
    centring
        Positions of the particles in their boxes.
    history
        One row per iteration of the training.
    classes
        Probabilities of the classes that the user labelled; None without labels.
    """

    features: NDArray[np.float32]
    centring: Centring
    history: pd.DataFrame
    classes: ClassProbabilities | None = None

    def write(self, path: str | os.PathLike[str], names: Sequence[str], voxel_size: float) -> None:
        """Write the features with the particles' names (n,) and their shifts, in angstrom, centring scores, and classes.

        Parameters
        ----------
        path
            The .npz file, which `read_features` reads; written whole or not at all.
        names
            (n,) names of the particles.
        voxel_size
            Of the boxes, angstrom.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        write_features(
            path,
            names,
            self.features,
            shifts=self.centring.shifts_voxels * voxel_size,
            centring_scores=self.centring.scores,
            **({} if self.classes is None else self.classes.arrays()),
        )


def learn_features(
    learner: Learner,
    boxes: Boxes,
    options: FeatureOptions,
    checkpoint: Path | None = None,
    labels: ParticleLabels | None = None,
) -> LearnedFeatures:
    """Train `learner` on `boxes` and embed them.

    With `options.centre`, a mixture fitted to the features assigns the particles to classes, each class is centred on
    its common radial profile, and the centred boxes are embedded again. With `labels`, all particles are classified: by
    the learner's own classifier, or by the prototypes of the labelled particles.

    Parameters
    ----------
    learner
        Created with the same options.
    boxes
        (n, z, y, x).
    options
        See `FeatureOptions`.
    checkpoint
        See `Learner.fit`.
    labels
        Labels of the n particles; None if the user gave none.

    Returns
    -------
    Features, centring, history and classes.
    """
    learner.class_names = () if labels is None else labels.names
    history = learner.fit(boxes, None if labels is None else labels.numbers, checkpoint)
    features, centring = embed_centred(learner, boxes, options)
    classes = learner.classify(ShiftedBoxes(boxes, centring.shifts_voxels) if options.centre else boxes)
    if labels is not None:
        classes = (classify_by_prototypes(features, labels) if classes is None else classes).with_labels(
            labels.numbers
        )
    return LearnedFeatures(features, centring, history, classes)


def embed_centred(
    learner: Learner, boxes: Boxes, options: FeatureOptions
) -> tuple[NDArray[np.float32], Centring]:
    """Return the features (n, d) of boxes (n, z, y, x), centred first if `options.centre` is set, and their centring."""
    features = learner.embed(boxes)
    centring = Centring.none(len(boxes))
    if options.centre and len(boxes):
        found = broadcast(lambda: _centre(learner, boxes, features, options), learner.device)
        centring = Centring(*(values.cpu().numpy() for values in found))
        features = learner.embed(ShiftedBoxes(boxes, centring.shifts_voxels))
    return features, centring


def _centre(
    learner: Learner, boxes: Boxes, features: NDArray[np.float32], options: FeatureOptions
) -> list[torch.Tensor]:
    """Return shifts and scores of a `Centring`."""
    classes = _preliminary_classes(features, options, learner.seed)
    centring = find_centres(boxes, learner.device, learner.seed, classes)
    return [torch.from_numpy(centring.shifts_voxels), torch.from_numpy(centring.scores)]


def _preliminary_classes(
    features: NDArray[np.float32], options: FeatureOptions, seed: int
) -> NDArray[np.int64]:
    """Return (n,) classes of the particles, from the mixture with the lowest BIC."""
    values = torch.from_numpy(features)
    points = principal_components(values, options.principal_components).apply(values)
    low, high = (min(count, MAX_CLASSES) for count in options.clusters)
    candidates = range(low, high + 1)
    generator = torch.Generator().manual_seed(seed)
    mixture, _ = choose_mixture(points, candidates, options.mixture_starts, generator)
    return mixture.posteriors(points.double()).argmax(dim=1).numpy()
