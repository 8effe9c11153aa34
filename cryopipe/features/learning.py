"""From boxes to features in one call: learn, centre each kind of particle, embed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe.boxes import Boxes, ShiftedBoxes
from cryopipe.features.centring import Centring, find_centres
from cryopipe.features.learner import Learner
from cryopipe.features.options import FeatureOptions
from cryopipe.features.training.distributed import shared
from cryopipe.mixtures.components import principal_components
from cryopipe.mixtures.gaussian import choose_mixture

MOST_KINDS = 8
"""Particles are centred by up to this many kinds; finer ones have much the same profile."""


@dataclass(frozen=True)
class LearnedFeatures:
    """What was learned of n particles.

    Attributes
    ----------
    features
        (n, d) of the centred boxes.
    centring
        Where the particles are in their boxes.
    history
        One row per iteration of the training.
    """

    features: NDArray[np.float32]
    centring: Centring
    history: pd.DataFrame


def learn_features(
    learner: Learner, boxes: Boxes, options: FeatureOptions, checkpoint: Path | None = None
) -> LearnedFeatures:
    """Let `learner` learn from `boxes` and embed them.

    With `options.centre`, a first mixture on the features sorts the particles into kinds, those of each kind are
    brought to the centre by the profile they have in common, and the centred boxes are embedded again.

    Parameters
    ----------
    learner
        Made with the same options.
    boxes
        (n, z, y, x).
    options
        See `FeatureOptions`.
    checkpoint
        See `Learner.fit`.
    """
    history = learner.fit(boxes, checkpoint=checkpoint)
    features = learner.embed(boxes)
    if not options.centre or not len(boxes):
        return LearnedFeatures(features, Centring.none(len(boxes)), history)
    found = shared(lambda: _found_centres(learner, boxes, features, options), learner.device)
    centring = Centring(*(values.cpu().numpy() for values in found))
    centred = ShiftedBoxes(boxes, centring.shifts_voxels)
    return LearnedFeatures(learner.embed(centred), centring, history)


def _found_centres(
    learner: Learner, boxes: Boxes, features: NDArray[np.float32], options: FeatureOptions
) -> list[torch.Tensor]:
    """Return shifts and scores of a `Centring`."""
    kinds = _rough_kinds(features, options, learner.seed)
    centring = find_centres(boxes, learner.device, learner.seed, kinds)
    return [torch.from_numpy(centring.shifts_voxels), torch.from_numpy(centring.scores)]


def _rough_kinds(features: NDArray[np.float32], options: FeatureOptions, seed: int) -> NDArray[np.int64]:
    """Return (n,) kinds of the particles, by the mixture with the lowest BIC."""
    values = torch.from_numpy(features)
    points = principal_components(values, options.principal_components).apply(values)
    low, high = (min(count, MOST_KINDS) for count in options.clusters)
    candidates = range(low, high + 1)
    generator = torch.Generator().manual_seed(seed)
    mixture, _ = choose_mixture(points, candidates, options.mixture_starts, generator)
    return mixture.posteriors(points.double()).argmax(dim=1).numpy()
