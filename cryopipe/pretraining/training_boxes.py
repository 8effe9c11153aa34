"""Simulated boxes for the training of the transfer encoder: many particles, many imaging conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryopipe.pretraining.recipe import ClassSet, Stage
from cryopipe.simulation.box_options import BoxOptions
from cryopipe.simulation.box_simulator import BoxSimulator
from cryopipe.simulation.maps import read_named_maps
from cryopipe.simulation.phantoms import Phantom, filler_phantoms, stock_phantoms
from cryopipe.simulation.rendering import ParticleRenderer

POOL_BATCHES = 12
"""Number of simulated batches from which training batches are drawn."""
NEIGHBOURS = 40
"""Number of species of a class set that are neighbours under one imaging condition; as many small proteins are added."""
ROTATIONS_180: tuple[tuple[int, ...], ...] = ((), (-1, -2), (-1, -3), (-2, -3))
"""Axes reversed by each rotation by 180 degrees; there are no mirror images, because handedness is information."""
SEED_STRIDE = 1_000_003


def class_set_phantoms(classes: ClassSet, templates: Path | None = None) -> list[Phantom]:
    """Return the phantoms of a class set: procedural, or its named maps if the folder `templates` is given."""
    if templates is not None and classes.templates:
        return read_named_maps(templates, classes.templates, classes.voxel_size, classes.resolution)
    return stock_phantoms(
        classes.count, classes.voxel_size, classes.resolution, classes.first_seed, classes.largest_radius
    )


class TrainingBoxes:
    """Boxes of one stage of training, one batch per step.

    Simulation takes longer than training, so batches are drawn from a pool of simulated boxes that is gradually
    replaced. The batch of a step depends on the seed and the step only, so that training can resume at any step.

    Parameters
    ----------
    class_sets
        Phantoms, one list per voxel size. Classes are numbered consecutively; the last one is that of boxes without a
        particle at their centre.
    stage
        Imaging conditions and sizes of the stage.
    box_size
        Voxels, even.
    device
        Device to compute on.
    seed
        Seed of the random numbers; the same seed gives the same boxes.
    """

    def __init__(
        self,
        class_sets: Sequence[Sequence[Phantom]],
        stage: Stage,
        box_size: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.stage, self.seed, self.device = stage, seed, device
        self._counts = [len(phantoms) for phantoms in class_sets]
        rng = np.random.default_rng(seed)
        conditions = [stage] * stage.conditions
        self._simulators = [
            simulators(phantoms, conditions, box_size, device, rng) for phantoms in class_sets
        ]
        shape = (POOL_BATCHES, stage.batch_size)
        self._boxes = torch.zeros(*shape, *(box_size,) * 3, dtype=torch.float16, device=device)
        self._labels = torch.zeros(*shape, dtype=torch.long, device=device)
        self._newest = -1

    @property
    def classes(self) -> int:
        """Number of classes, including that of boxes without a particle."""
        return sum(self._counts) + 1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the boxes (n, z, y, x) and labels (n,) of a step, counted from 0."""
        newest = step // self.stage.reuse
        for number in range(max(self._newest + 1, newest - POOL_BATCHES + 1, 0), newest + 1):
            slot = number % POOL_BATCHES
            self._boxes[slot], self._labels[slot] = self._simulate(number)
        self._newest = newest
        generator = torch.Generator().manual_seed(SEED_STRIDE * self.seed + step)
        size = self.stage.batch_size
        filled = min(newest + 1, POOL_BATCHES) * size
        chosen = torch.randperm(filled, generator=generator)[:size].to(self.device)
        axes = ROTATIONS_180[int(torch.randint(len(ROTATIONS_180), (), generator=generator))]
        boxes = self._boxes.flatten(0, 1)[chosen].float()
        return rotate_180(boxes, axes), self._labels.flatten()[chosen]

    def _simulate(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the boxes and labels of one simulated batch, all of one class set and one imaging condition."""
        rng = np.random.default_rng([self.seed, number])
        chosen = int(rng.choice(len(self._counts), p=np.array(self._counts) / sum(self._counts)))
        simulator = self._simulators[chosen][int(rng.integers(len(self._simulators[chosen])))]
        count = self._counts[chosen]
        own = rng.integers(count, size=self.stage.batch_size)
        own[rng.random(self.stage.batch_size) < self.stage.empty_fraction] = count
        simulator.reseed(int(rng.integers(2**62)))
        boxes = simulator.sample(torch.from_numpy(own)).boxes
        labels = np.where(own == count, sum(self._counts), own + sum(self._counts[:chosen]))
        return boxes.half(), torch.from_numpy(labels).to(self.device)


def simulators(
    phantoms: Sequence[Phantom],
    conditions: Sequence[Stage],
    box_size: int,
    device: torch.device,
    rng: np.random.Generator,
) -> list[BoxSimulator]:
    """Return one simulator per imaging condition, each drawn from the ranges of a stage, all with the same classes."""
    renderer = ParticleRenderer(phantoms, device)
    small = filler_phantoms(phantoms[0].voxel_size, phantoms[0].resolution)
    made = []
    for stage in conditions:
        limit = float(rng.uniform(*stage.tilt_limit))
        options = BoxOptions(
            box_size=box_size,
            snr=stage.snr,
            tilt_range=(-limit, limit),
            tilt_step=float(rng.uniform(*stage.tilt_step)),
            defocus=stage.defocus,
            displacement=stage.displacement,
            crowding=float(rng.uniform(*stage.crowding)),
            structural_noise=float(rng.uniform(*stage.structural_noise)),
            thickness=float(rng.uniform(*stage.thickness)),
        )
        some = [phantoms[i] for i in rng.permutation(len(phantoms))[:NEIGHBOURS]]
        neighbours = some + small * max(1, len(some) // len(small))
        seed = int(rng.integers(2**31))
        made.append(BoxSimulator(phantoms, options, device, seed, neighbours, renderer))
    return made


def rotate_180(boxes: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Rotate boxes (n, z, y, x) of even size by 180 degrees about voxel n // 2 by reversing two `axes`, or none."""
    if not axes:
        return boxes
    # Reversal moves voxel n // 2 to n // 2 - 1.
    return boxes.flip(axes).roll((1,) * len(axes), axes)
