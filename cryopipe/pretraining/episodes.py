"""Simulated episodes for the training of few-shot networks: a few classes under one imaging condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cryopipe.pretraining.recipe import Stage
from cryopipe.pretraining.training_boxes import ROTATIONS_180, SEED_STRIDE, rotate_180, simulators
from cryopipe.simulation.phantoms import Phantom


@dataclass(frozen=True)
class EpisodeStage(Stage):
    """Stage of a training in episodes; `batch_size` is not used.

    Attributes
    ----------
    ways
        Classes of an episode.
    shots
        (lowest, highest) labelled boxes of each class, drawn per episode.
    queries
        Boxes of each class to be classified.
    snr_range
        Ratio of the highest to the lowest SNR in an episode, whose mean is drawn from `snr`: a dataset has one
        thickness and one dose.
    """

    ways: int = 8
    shots: tuple[int, int] = (1, 5)
    queries: int = 11
    snr_range: float = 2.0

    @property
    def per_class(self) -> int:
        """Boxes of each class in an episode."""
        return self.shots[1] + self.queries

    @property
    def steps(self) -> int:
        """Number of episodes."""
        return max(1, self.boxes // (self.ways * self.per_class))


class EpisodeBoxes:
    """Boxes of the episodes of one stage of training, one episode per step.

    Each simulated episode is used `reuse` times, with other boxes as examples and with a rotation by 180 degrees. The
    episode of a step depends on the seed and the step only, so that training can resume at any step.

    Parameters
    ----------
    class_sets
        Phantoms, one list per voxel size.
    stage
        Imaging conditions and sizes of the stage.
    box_size
        Voxels, even.
    device
        Device to compute on.
    seed
        Seed of the random numbers; the same seed gives the same episodes.
    """

    def __init__(
        self,
        class_sets: Sequence[Sequence[Phantom]],
        stage: EpisodeStage,
        box_size: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.stage, self.seed, self.device = stage, seed, device
        self._counts = [len(phantoms) for phantoms in class_sets]
        rng = np.random.default_rng(seed)
        conditions = [_conditions(stage, rng) for _ in class_sets]
        self._simulators = [
            simulators(phantoms, some, box_size, device, rng)
            for phantoms, some in zip(class_sets, conditions, strict=True)
        ]
        self._newest, self._boxes = -1, torch.zeros(0)

    def episode(self, step: int) -> tuple[Tensor, int]:
        """Return the boxes (ways, per_class, z, y, x) of a step and how many of each class, the first, are labelled."""
        number = step // self.stage.reuse
        if number != self._newest:
            self._newest, self._boxes = number, self._simulate(number)
        rng = np.random.default_rng([SEED_STRIDE, self.seed, step])
        shots = int(rng.integers(self.stage.shots[0], self.stage.shots[1] + 1))
        order = torch.from_numpy(
            rng.permuted(np.tile(np.arange(self.stage.per_class), (self.stage.ways, 1)), axis=1)
        )
        chosen = self._boxes[torch.arange(self.stage.ways)[:, None], order].flatten(0, 1)
        axes = rng.integers(len(ROTATIONS_180), size=len(chosen))
        for number, some in enumerate(ROTATIONS_180):
            mine = torch.from_numpy(axes == number).to(self.device)
            chosen[mine] = rotate_180(chosen[mine], some)
        return chosen.unflatten(0, (self.stage.ways, self.stage.per_class)), shots

    def _simulate(self, number: int) -> Tensor:
        """Return the boxes (ways, per_class, z, y, x) of one simulated episode."""
        rng = np.random.default_rng([self.seed, number])
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
