"""Training of the transfer encoder on simulated boxes of procedural phantoms.

No real structure takes part: a few hundred made-up particles, imaged over a wide range of noise, defocus, tilt
range, crowding and displacement, and a class for boxes without a particle at their centre. Features and class
directions have length 1 and the loss is the cross-entropy of their scaled cosines, so that a class becomes a compact
cap on the sphere: what later mixtures can find.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryopipe.features.devices import autocast
from cryopipe.features.networks.encoder import VIEW, TransferEncoder
from cryopipe.progress import Progress
from cryopipe.simulation.boxes import BoxOptions, BoxSimulator
from cryopipe.simulation.phantoms import stock_phantoms

REPORTED_STEPS = 50
POOL_BATCHES = 12
"""Simulated batches that are kept to draw from."""
HALF_TURNS: tuple[tuple[int, ...], ...] = ((), (-1, -2), (-1, -3), (-2, -3))
"""Axes that each half-turn reverses; no mirror image is among them, since handedness is information."""


@dataclass(frozen=True)
class PretrainingOptions:
    """The recipe of the transfer encoder.

    Attributes
    ----------
    classes
        Number of procedural phantoms.
    first_seed
        Where in the endless series of phantoms they begin.
    largest_radius
        Angstrom; larger phantoms are passed over.
    voxel_size, resolution
        Angstrom.
    box_size
        Voxels.
    tilt_limits
        Degrees; tilt series from minus to plus each limit.
    crowdings
        Volume fractions of protein around the particles.
    snr
        (lowest, highest), drawn per box, see `BoxOptions`.
    defocus
        (lowest, highest) micrometre.
    displacement
        Angstrom; centres lie within a ball of this radius about the box centre.
    empty_fraction
        Part of each batch that has no particle at its centre.
    boxes
        Number of boxes to train on; each is used once.
    batch_size
        Boxes per step.
    learning_rate
        Highest rate; it rises over the first twentieth of the steps and falls along a cosine.
    reuse
        Steps per simulated batch: how often each box is shown.
    scale
        Factor on the cosines before the softmax.
    """

    classes: int = 60
    first_seed: int = 1000
    largest_radius: float = 125.0
    voxel_size: float = 13.33
    resolution: float = 27.0
    box_size: int = VIEW
    tilt_limits: Sequence[float] = (45.0, 60.0)
    crowdings: Sequence[float] = (0.0, 0.12)
    snr: tuple[float, float] = (0.05, 2.0)
    defocus: tuple[float, float] = (2.0, 6.0)
    displacement: float = 25.0
    empty_fraction: float = 0.1
    boxes: int = 51_200
    batch_size: int = 64
    learning_rate: float = 1e-3
    reuse: int = 3
    scale: float = 16.0


STAGES = (
    PretrainingOptions(
        boxes=20_000, learning_rate=2e-3, snr=(0.1, 2.0), tilt_limits=(60.0,), crowdings=(0.0,)
    ),
    PretrainingOptions(boxes=51_200, learning_rate=1e-3),
)
"""First lone particles at one tilt range, then everything: from the start on everything, training stood still."""


class PretrainingRun:
    """One training of the encoder that can be stopped and taken up again.

    Parameters
    ----------
    options
        The recipe.
    device
        Where to compute.
    seed
        Same seed and device, same encoder.
    """

    def __init__(self, options: PretrainingOptions, device: torch.device, seed: int) -> None:
        self.options, self.device, self.seed = options, device, seed
        torch.manual_seed(seed)
        self.encoder = TransferEncoder().to(device)
        self.directions = nn.Parameter(
            torch.randn(options.classes + 1, self.encoder.feature_width, device=device)
        )
        self.optimiser = torch.optim.AdamW(
            [*self.encoder.parameters(), self.directions], lr=options.learning_rate, weight_decay=1e-4
        )
        self.steps = max(1, options.boxes // options.batch_size)
        self.step = 0
        self.simulators = self._simulators()
        self.pool: deque[tuple[Tensor, Tensor]] = deque(maxlen=POOL_BATCHES)

    def _simulators(self) -> list[BoxSimulator]:
        """Return one simulator per combination of box size, tilt range and crowding."""
        options = self.options
        phantoms = stock_phantoms(
            options.classes,
            options.voxel_size,
            options.resolution,
            options.first_seed,
            options.largest_radius,
        )
        combinations = itertools.product(options.tilt_limits, options.crowdings)
        return [
            BoxSimulator(
                phantoms,
                BoxOptions(
                    box_size=options.box_size,
                    snr=options.snr,
                    tilt_range=(-limit, limit),
                    defocus=options.defocus,
                    displacement=options.displacement,
                    crowding=crowding,
                ),
                self.device,
                seed=self.seed + 1000 * number,
            )
            for number, (limit, crowding) in enumerate(combinations)
        ]

    def train_step(self) -> tuple[float, float]:
        """Train on one batch; return its loss and the share of boxes whose class came first."""
        options = self.options
        boxes, labels = self._batch()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.encoder.train()
        with autocast(self.device):
            features = self.encoder(boxes[:, None])
        logits = options.scale * F.normalize(features.float()) @ F.normalize(self.directions).T
        loss = F.cross_entropy(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        return loss.item(), float((logits.argmax(dim=1) == labels).float().mean())

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return boxes and labels, drawn from a pool of simulated boxes that is renewed part by part.

        Simulation takes longer than training, so each box is shown `reuse` times on average, every time under one of
        the four half-turns that map the missing wedge onto itself.
        """
        options = self.options
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.step)
        if self.step % options.reuse == 0:
            labels = torch.randint(options.classes, (options.batch_size,), generator=generator)
            empty = torch.rand(options.batch_size, generator=generator) < options.empty_fraction
            labels[empty] = options.classes
            number = self.step // options.reuse
            new = self.simulators[number % len(self.simulators)].sample(labels)
            self.pool.append((new.boxes, new.labels))
        boxes = torch.cat([boxes for boxes, _ in self.pool])
        chosen = torch.randperm(len(boxes), generator=generator)[: options.batch_size].to(self.device)
        turn = HALF_TURNS[int(torch.randint(len(HALF_TURNS), (), generator=generator))]
        labels = torch.cat([labels for _, labels in self.pool])
        return half_turned(boxes[chosen], turn), labels[chosen]

    def _rate(self) -> float:
        warm = max(1, self.steps // 20)
        if self.step < warm:
            return self.options.learning_rate * (self.step + 1) / warm
        done = torch.tensor((self.step - warm) / max(1, self.steps - warm))
        return self.options.learning_rate * float(0.5 * (1 + torch.cos(torch.pi * done)))

    def start_from(self, other: PretrainingRun) -> None:
        """Take over the weights of an earlier run with the same classes."""
        self.encoder.load_state_dict(other.encoder.state_dict())
        with torch.no_grad():
            self.directions.copy_(other.directions)


def pretrain(
    stages: Sequence[PretrainingOptions], device: torch.device, seed: int
) -> tuple[TransferEncoder, list[dict[str, float]]]:
    """Train an encoder in stages, each from the weights of the one before.

    Parameters
    ----------
    stages
        The recipe; all have the same classes.
    device
        Where to compute.
    seed
        Same seed and device, same encoder.

    Returns
    -------
    The encoder, and the history: one row per `REPORTED_STEPS` steps.
    """
    history: list[dict[str, float]] = []
    run: PretrainingRun | None = None
    for number, options in enumerate(stages):
        previous, run = run, PretrainingRun(options, device, seed + number)
        if previous is not None:
            run.start_from(previous)
        progress = Progress(run.steps, "steps", f"pretraining, stage {number + 1} of {len(stages)}")
        figures: list[tuple[float, float]] = []
        while run.step < run.steps:
            figures.append(run.train_step())
            progress.advance()
            if len(figures) == REPORTED_STEPS or run.step == run.steps:
                loss, share = np.mean(figures, axis=0)
                history.append({"stage": number + 1, "step": run.step, "loss": loss, "accuracy": share})
                figures = []
    if run is None:
        raise ValueError("pretraining needs at least one stage")
    return run.encoder, history


def half_turned(boxes: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Turn boxes (n, z, y, x), of even size, by 180 degrees about voxel n // 2: reverse two `axes`, or none."""
    if not axes:
        return boxes
    # Reversal maps voxel n // 2 to n // 2 - 1.
    return boxes.flip(axes).roll((1,) * len(axes), axes)
