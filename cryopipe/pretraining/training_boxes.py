"""The simulated boxes that the transfer encoder is trained on: many particles under many imaging conditions."""

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
"""Simulated batches that are kept to draw from."""
NEIGHBOURS = 40
"""Species, of a set's own, that crowd the particles under one imaging condition; as many small proteins join them."""
HALF_TURNS: tuple[tuple[int, ...], ...] = ((), (-1, -2), (-1, -3), (-2, -3))
"""Axes that each half-turn reverses; no mirror image is among them, since handedness is information."""
LARGE = 1_000_003


def phantoms_of(classes: ClassSet, templates: Path | None = None) -> list[Phantom]:
    """Return the particles of a class set: procedural, or the maps it names if there is a folder `templates`."""
    if templates is not None and classes.templates:
        return read_named_maps(templates, classes.templates, classes.voxel_size, classes.resolution)
    return stock_phantoms(
        classes.count, classes.voxel_size, classes.resolution, classes.first_seed, classes.largest_radius
    )


class TrainingBoxes:
    """The boxes of one stage of training, a batch per step.

    Simulation takes longer than training, so batches are drawn from a pool of simulated boxes that is renewed part by
    part. What step n gets follows from the seed and n alone, so that a training can go on anywhere.

    Parameters
    ----------
    class_sets
        Phantoms, one list per voxel size. Classes are numbered through; the last number is the class of boxes without
        a particle at their centre.
    stage
        How the boxes are made.
    box_size
        Voxels, even.
    device
        Where to compute.
    seed
        Same seed, same boxes.
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
        self._simulators = [_simulators(phantoms, stage, box_size, device, rng) for phantoms in class_sets]
        shape = (POOL_BATCHES, stage.batch_size)
        self._boxes = torch.zeros(*shape, *(box_size,) * 3, dtype=torch.float16, device=device)
        self._labels = torch.zeros(*shape, dtype=torch.long, device=device)
        self._newest = -1

    @property
    def classes(self) -> int:
        """Number of classes, that of the boxes without a particle included."""
        return sum(self._counts) + 1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the boxes (n, z, y, x) and labels (n,) of a step, counted from 0."""
        newest = step // self.stage.reuse
        for number in range(max(self._newest + 1, newest - POOL_BATCHES + 1, 0), newest + 1):
            slot = number % POOL_BATCHES
            self._boxes[slot], self._labels[slot] = self._simulate(number)
        self._newest = newest
        generator = torch.Generator().manual_seed(LARGE * self.seed + step)
        size = self.stage.batch_size
        filled = min(newest + 1, POOL_BATCHES) * size
        chosen = torch.randperm(filled, generator=generator)[:size].to(self.device)
        turn = HALF_TURNS[int(torch.randint(len(HALF_TURNS), (), generator=generator))]
        boxes = self._boxes.flatten(0, 1)[chosen].float()
        return half_turned(boxes, turn), self._labels.flatten()[chosen]

    def _simulate(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the boxes and labels of one simulated batch, all of one class set and imaging condition."""
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


def _simulators(
    phantoms: Sequence[Phantom], stage: Stage, box_size: int, device: torch.device, rng: np.random.Generator
) -> list[BoxSimulator]:
    """Return one simulator per imaging condition, all with the same classes."""
    renderer = ParticleRenderer(phantoms, device)
    small = filler_phantoms(phantoms[0].voxel_size, phantoms[0].resolution)
    made = []
    for _ in range(stage.conditions):
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


def half_turned(boxes: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Turn boxes (n, z, y, x), of even size, by 180 degrees about voxel n // 2: reverse two `axes`, or none."""
    if not axes:
        return boxes
    # Reversal maps voxel n // 2 to n // 2 - 1.
    return boxes.flip(axes).roll((1,) * len(axes), axes)
