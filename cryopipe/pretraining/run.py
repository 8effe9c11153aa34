"""Training of the transfer encoder on simulated boxes.

The classes are a few hundred procedural particles with a wide range of noise, defocus, tilt range, crowding and
displacement, and one for boxes without a particle at their centre. Features and class directions have length 1, and the
loss is the cross-entropy of their scaled cosines, so that each class is compact on the sphere, as mixtures require.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.training.checkpoint import (
    Checkpoint,
    optimiser_tensors,
    restore_optimiser,
    resume,
    write_checkpoint,
)
from cryopipe.features.training.devices import autocast, set_memory_format
from cryopipe.pretraining.recipe import Recipe
from cryopipe.pretraining.training_boxes import TrainingBoxes
from cryopipe.progress import Progress
from cryopipe.simulation.phantoms import Phantom

logger = logging.getLogger(__name__)

REPORTED_STEPS = 50
CHECKPOINT_STEPS = 200
MAX_GRADIENT_NORM = 5.0
WEIGHT_DECAY = 1e-4


class PretrainingRun:
    """Training of the encoder that can be interrupted and resumed.

    Parameters
    ----------
    recipe
        Classes, stages and imaging conditions.
    class_sets
        Phantoms of each class set of the recipe.
    device
        Device to compute on.
    seed
        Seed of the random numbers; the same seed and device give the same encoder.
    """

    def __init__(
        self, recipe: Recipe, class_sets: Sequence[Sequence[Phantom]], device: torch.device, seed: int
    ) -> None:
        self.recipe, self.class_sets, self.device, self.seed = recipe, class_sets, device, seed
        self._initialise()

    def _initialise(self) -> None:
        """Set the state before the first step, which depends on the seed alone."""
        torch.manual_seed(self.seed)
        classes = sum(len(phantoms) for phantoms in self.class_sets) + 1
        self.encoder = TransferEncoder(self.recipe.widths).to(self.device)
        self._layout = set_memory_format(self.encoder, self.device)
        self.directions = nn.Parameter(torch.randn(classes, self.encoder.feature_width, device=self.device))
        self.optimiser = torch.optim.AdamW(
            [*self.encoder.parameters(), self.directions], weight_decay=WEIGHT_DECAY
        )
        self.stage = self.step = 0
        self.history: list[dict[str, float]] = []

    def train(self, checkpoint: Path | None = None, may_continue: Callable[[], bool] = lambda: True) -> None:
        """Train through all stages; see `pretrain`.

        Parameters
        ----------
        checkpoint
            File of the state of training; if it belongs to this run, training resumes from it.
        may_continue
            Called before every step; training ends when it returns False.
        """
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)
        for number in range(self.stage, len(self.recipe.stages)):
            self._train_stage(number, checkpoint, may_continue)
            if self.step < self.recipe.stages[number].steps:
                return
            self.stage, self.step = number + 1, 0

    def _train_stage(self, number: int, checkpoint: Path | None, may_continue: Callable[[], bool]) -> None:
        stage = self.recipe.stages[number]
        boxes = TrainingBoxes(
            self.class_sets, stage, self.recipe.box_size, self.device, self.seed * 101 + number
        )
        what = f"pretraining, stage {number + 1} of {len(self.recipe.stages)}"
        progress = Progress(stage.steps - self.step, "steps", what)
        figures: list[tuple[float, float]] = []
        while self.step < stage.steps and may_continue():
            for group in self.optimiser.param_groups:
                group["lr"] = stage.rate(self.step)
            figures.append(self.train_step(*boxes.batch(self.step)))
            self.step += 1
            progress.advance()
            if self.step % REPORTED_STEPS == 0 or self.step == stage.steps:
                loss, accuracy = np.mean(figures, axis=0)
                self.history.append(
                    {"stage": number + 1, "step": self.step, "loss": loss, "accuracy": accuracy}
                )
                logger.info("%s, step %d: loss %.3f, accuracy %.3f", what, self.step, loss, accuracy)
                figures = []
            if checkpoint is not None and (self.step % CHECKPOINT_STEPS == 0 or self.step == stage.steps):
                self._write(checkpoint)

    def train_step(self, boxes: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        """Train on one batch.

        Parameters
        ----------
        boxes
            (n, z, y, x) on the run's device.
        labels
            (n,) class numbers.

        Returns
        -------
        The loss, and the fraction of boxes whose most probable class is right.
        """
        self.encoder.train()
        volumes = boxes[:, None].contiguous(memory_format=self._layout)
        with autocast(self.device):
            features = self.encoder(volumes)
        logits = self.recipe.scale * F.normalize(features.float()) @ F.normalize(self.directions).T
        loss = F.cross_entropy(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), MAX_GRADIENT_NORM)
        self.optimiser.step()
        return loss.item(), float((logits.argmax(dim=1) == labels).float().mean())

    @property
    def _fingerprint(self) -> str:
        return f"{self.recipe} seed={self.seed} classes={[p.name for part in self.class_sets for p in part]}"

    def _write(self, path: Path) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {
            "encoder": self.encoder.state_dict(),
            "optimiser": optimiser_tensors(self.optimiser),
            "": {"directions": self.directions.detach()},
        }
        numbers = {"stage": self.stage, "step": self.step, "history": self.history}
        write_checkpoint(path, parts, numbers, self._fingerprint)

    def _resume(self, path: Path) -> None:
        """Continue from the checkpoint, or restart with a warning if it is damaged or of another training."""
        if not resume(path, self._fingerprint, self.device, self._restore):
            self._initialise()
            return
        logger.info("resuming after step %d of stage %d", self.step, self.stage + 1)

    def _restore(self, found: Checkpoint) -> None:
        self.encoder.load_state_dict(found.part("encoder"))
        restore_optimiser(self.optimiser, found.part("optimiser"))
        with torch.no_grad():
            self.directions.copy_(found.tensors["directions"])
        numbers = found.numbers
        self.stage, self.step, self.history = int(numbers["stage"]), int(numbers["step"]), numbers["history"]


def pretrain(
    recipe: Recipe,
    class_sets: Sequence[Sequence[Phantom]],
    device: torch.device,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[TransferEncoder, list[dict[str, float]]]:
    """Train an encoder on simulated boxes.

    Parameters
    ----------
    recipe, class_sets, device, seed
        See `PretrainingRun`.
    checkpoint
        File of the state of training, written every `CHECKPOINT_STEPS` steps. If it belongs to the same run, training
        resumes from it, with the same result as without the interruption.

    Returns
    -------
    The encoder, and the history: one row per `REPORTED_STEPS` steps.
    """
    run = PretrainingRun(recipe, class_sets, device, seed)
    run.train(checkpoint)
    return run.encoder, run.history
