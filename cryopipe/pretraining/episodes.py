"""Simulated episodes for the training of few-shot networks: a few classes under one imaging condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cryopipe.config import section_of
from cryopipe.errors import ConfigError
from cryopipe.features.networks.protonet_network import BACKBONES
from cryopipe.pretraining.recipe import ClassSet, Stage, with_tuples
from cryopipe.pretraining.training_boxes import simulators
from cryopipe.simulation.phantoms import Phantom


@dataclass(frozen=True)
class EpisodeStage(Stage):
    """Conditions of a training in episodes; `batch_size` and `reuse` of `Stage` are not used.

    Attributes
    ----------
    ways
        Classes of an episode.
    shots
        (lowest, highest) labelled boxes of each class, drawn per episode.
    queries
        Boxes of each class to be classified, at least.
    snr_range
        Ratio of the highest to the lowest SNR in an episode, the middle being drawn from `snr`: a dataset has one dose
        and one thickness.
    """

    ways: int = 6
    shots: tuple[int, int] = (1, 5)
    queries: int = 7
    snr_range: float = 2.0

    @property
    def per_class(self) -> int:
        """Boxes of each class in an episode."""
        return self.shots[1] + self.queries

    @property
    def steps(self) -> int:
        """Number of episodes."""
        return max(1, self.boxes // (self.ways * self.per_class))


@dataclass(frozen=True)
class EpisodeRecipe:
    """Recipe of a training in episodes.

    Attributes
    ----------
    network
        One of `BACKBONES`.
    classes
        Class sets; an episode's classes are of one set.
    episodes
        Imaging conditions and amounts.
    box_size
        Voxels.
    widths
        See `FewShotNetwork`.
    """

    network: str
    classes: Sequence[ClassSet]
    episodes: EpisodeStage
    box_size: int = 24
    widths: tuple[int, ...] = (64,)


def episode_recipe(content: Mapping[str, Any]) -> EpisodeRecipe:
    """Return the recipe from the content of a YAML file.

    Raises
    ------
    ConfigError
        For keys that are unknown or missing, or an unknown network.
    """
    plain = with_tuples(content)
    plain["classes"] = [
        section_of(ClassSet, "classes", with_tuples(part)) for part in plain.get("classes", [])
    ]
    plain["episodes"] = section_of(EpisodeStage, "episodes", with_tuples(plain.get("episodes", {})))
    recipe = section_of(EpisodeRecipe, "recipe", plain)
    if recipe.network not in BACKBONES:
        raise ConfigError(f"network {recipe.network!r} is unknown", remedy=f"give {' or '.join(BACKBONES)}")
    if min((one.count for one in recipe.classes), default=0) < recipe.episodes.ways:
        raise ConfigError(
            f"an episode needs {recipe.episodes.ways} classes", remedy="give as many in each class set"
        )
    return recipe


class EpisodeBoxes:
    """Boxes of simulated episodes.

    Parameters
    ----------
    class_sets
        Phantoms, one list per voxel size.
    stage
        Imaging conditions and sizes.
    box_size
        Voxels, even.
    device
        Device to compute on.
    seed
        Seed of the imaging conditions.
    """

    def __init__(
        self,
        class_sets: Sequence[Sequence[Phantom]],
        stage: EpisodeStage,
        box_size: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.stage = stage
        self._counts = [len(phantoms) for phantoms in class_sets]
        rng = np.random.default_rng(seed)
        self._simulators = [
            simulators(phantoms, _conditions(stage, rng), box_size, device, rng) for phantoms in class_sets
        ]

    def draw(self, seed: int) -> Tensor:
        """Return the boxes (ways, per_class, z, y, x) of an episode that depends on `seed` only."""
        rng = np.random.default_rng(seed)
        chosen = int(rng.choice(len(self._counts), p=np.array(self._counts) / sum(self._counts)))
        simulator = self._simulators[chosen][int(rng.integers(len(self._simulators[chosen])))]
        classes = rng.permutation(self._counts[chosen])[: self.stage.ways]
        if rng.random() < self.stage.ways * self.stage.empty_fraction:
            classes[0] = self._counts[chosen]  # boxes without a particle are a class
        simulator.reseed(int(rng.integers(2**62)))
        labels = torch.from_numpy(classes).repeat_interleave(self.stage.per_class)
        return simulator.sample(labels).boxes.unflatten(0, (self.stage.ways, self.stage.per_class))


def _conditions(stage: EpisodeStage, rng: np.random.Generator) -> list[Stage]:
    """Return the stage with the SNR of each imaging condition."""
    middles = stage.snr[0] * (stage.snr[1] / stage.snr[0]) ** rng.random(stage.conditions)
    half = stage.snr_range**0.5
    return [replace(stage, snr=(float(m / half), float(m * half))) for m in middles]
