"""Learners: they compute features from boxes."""

from __future__ import annotations

from importlib import import_module

import torch

from cryopipe.errors import ConfigError
from cryopipe.features.learner import Learner
from cryopipe.features.learning import LearnedFeatures, learn_features
from cryopipe.features.options import FeatureOptions
from cryopipe.features.register import LEARNERS

__all__ = ["LEARNERS", "FeatureOptions", "LearnedFeatures", "Learner", "create_learner", "learn_features"]


def create_learner(
    name: str, options: FeatureOptions, device: torch.device, seed: int, memory_gb: float = 4.0
) -> Learner:
    """Create the learner `name`; see `Learner` for the other parameters.

    Raises
    ------
    ConfigError
        If there is no such learner.
    """
    if name not in LEARNERS:
        raise ConfigError(
            f"features.learner {name!r} is unknown", remedy=f"choose one of {', '.join(sorted(LEARNERS))}"
        )
    module, _, class_name = LEARNERS[name].location.partition(":")
    learner: type[Learner] = getattr(import_module(module), class_name)
    return learner(options, device, seed, memory_gb)
