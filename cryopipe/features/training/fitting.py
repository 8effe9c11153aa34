"""Training of a network over epochs: learning rate, early stopping, and checkpoints from which it resumes exactly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import (
    Checkpoint,
    optimiser_tensors,
    restore_optimiser,
    resume,
    write_checkpoint,
)
from cryopipe.features.training.distributed import broadcast, is_first_process
from cryopipe.features.training.loop import (
    Apply,
    BatchLoss,
    EpochReport,
    Steps,
    train_epoch,
)
from cryopipe.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training.

    Attributes
    ----------
    epochs
        Largest number of epochs.
    batch_size
        Boxes per step.
    learning_rate
        Epoch, from 0 -> learning rate. After bad steps (see `guarded_step`) the following rates are reduced, too.
    patience
        Training ends after this many epochs without a lower validation loss; None for never.
    """

    epochs: int
    batch_size: int
    learning_rate: Callable[[int], float]
    patience: int | None = None


@dataclass
class _Training:
    """State of a training between two epochs.

    It contains no random state: random numbers depend on seed and epoch only.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    factor: float = 1.0
    finished: bool = False
    best_epoch: int = -1
    best_loss: float = float("inf")
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def write(self, path: Path, fingerprint: str) -> None:
        parts = {
            "network": self.network.state_dict(),
            "optimiser": optimiser_tensors(self.optimiser),
            "best": self.best,
        }
        names = ("epoch", "factor", "finished", "best_epoch", "best_loss", "history")
        write_checkpoint(path, parts, {name: getattr(self, name) for name in names}, fingerprint)

    def restore(self, found: Checkpoint) -> None:
        self.network.load_state_dict(found.part("network"))
        restore_optimiser(self.optimiser, found.part("optimiser"))
        self.best = found.part("best")
        for name, value in found.numbers.items():
            setattr(self, name, value)


def fit_network(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: BoxSource,
    batch_loss: BatchLoss,
    schedule: Schedule,
    seed: int,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    validate: Callable[[], float] | None = None,
    members: Tensor | None = None,
    forward: Callable[[Tensor], Any] | None = None,
    what: str = "training",
) -> pd.DataFrame:
    """Train `network` on the boxes of `source`; afterwards it has the weights of the best epoch.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> what `batch_loss` expects. All that changes in training must be among its
        parameters and buffers.
    optimiser
        Optimiser of its parameters.
    source
        The boxes.
    batch_loss
        See `BatchLoss`.
    schedule
        Number of epochs, batch size, learning rate.
    seed
        Seed of order and draws; an epoch's random numbers depend on seed and epoch only.
    checkpoint
        File of the state of training, written after every epoch. If it belongs to the same training, training
        resumes from it, with the same result as without the interruption.
    fingerprint
        Text that identifies the training; see `fingerprint_of`.
    validate
        Returns the validation loss after an epoch; the weights of the epoch with the lowest are kept. None keeps the
        last weights.
    members
        Indices (m,) of the boxes to train on; None for all.
    forward
        Compiled network; see `train_epoch`.
    what
        Text of the progress messages.

    Returns
    -------
    The history: one row per epoch with iteration (from 0), loss, bad_steps, learning_rate, seconds, and
    validation_loss where there is validation.

    Raises
    ------
    LearningError
        After many consecutive steps with a non-finite loss.
    """

    def one_epoch(generator: torch.Generator, text: str) -> EpochReport:
        return train_epoch(
            network, optimiser, source, batch_loss, schedule.batch_size, generator, text, forward, members
        )

    state = _Training(network, optimiser)
    return _run(state, one_epoch, schedule, seed, source.device, checkpoint, fingerprint, validate, what)


def fit_episodes(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
    episode_loss: Callable[[Apply, torch.Generator], Tensor],
    episodes: int,
    schedule: Schedule,
    seed: int,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    validate: Callable[[], float] | None = None,
    what: str = "training",
) -> pd.DataFrame:
    """Train `network` on boxes that each step draws itself; see `fit_network` for the other parameters.

    Parameters
    ----------
    device
        Device of the network.
    episode_loss
        (network, random generator on the device) -> loss of one episode.
    episodes
        Number of episodes, one step each, in an epoch.
    """

    def one_epoch(generator: torch.Generator, text: str) -> EpochReport:
        steps = Steps(network, optimiser, device)
        progress = Progress(episodes, "episodes", text)
        for _ in range(episodes):
            steps.take(lambda apply: episode_loss(apply, generator))
            progress.advance()
        return steps.report()

    state = _Training(network, optimiser)
    return _run(state, one_epoch, schedule, seed, device, checkpoint, fingerprint, validate, what)


def _run(
    state: _Training,
    one_epoch: Callable[[torch.Generator, str], EpochReport],
    schedule: Schedule,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
    fingerprint: str,
    validate: Callable[[], float] | None,
    what: str,
) -> pd.DataFrame:
    if checkpoint is not None and checkpoint.exists():
        _resume(state, checkpoint, fingerprint, device)
    state.finished = state.finished or schedule.epochs == 0
    while not state.finished:
        started = time.monotonic()
        rate = schedule.learning_rate(state.epoch) * state.factor
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        generator = torch.Generator(device).manual_seed((seed * 1_000_003 + state.epoch) * 101)
        report = one_epoch(generator, f"{what}, epoch {state.epoch + 1} of {schedule.epochs}")
        state.factor *= 0.5**report.bad_steps
        row = {
            "iteration": state.epoch,
            "loss": report.loss,
            "bad_steps": report.bad_steps,
            "learning_rate": rate,
        }
        if validate is not None:
            row["validation_loss"] = _validated(state, validate, device)
        row["seconds"] = time.monotonic() - started
        state.history.append(row)
        state.epoch += 1
        waited = state.epoch - 1 - state.best_epoch
        tired = validate is not None and schedule.patience is not None and waited >= schedule.patience
        state.finished = tired or state.epoch >= schedule.epochs
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        logger.info("%s, epoch %d of %d: %s", what, state.epoch, schedule.epochs, figures)
        if checkpoint is not None and is_first_process():
            state.write(checkpoint, fingerprint)
    if state.best:
        state.network.load_state_dict(state.best)
        logger.info("%s: weights of epoch %d are kept", what, state.best_epoch + 1)
    return pd.DataFrame(state.history if state.history else {"iteration": pd.Series(dtype=int)})


def _validated(state: _Training, validate: Callable[[], float], device: torch.device) -> float:
    """Return the validation loss and keep the weights if it is the lowest so far."""
    loss = float(broadcast(lambda: [torch.tensor(validate(), dtype=torch.float64)], device)[0])
    if loss < state.best_loss:
        state.best_loss, state.best_epoch = loss, state.epoch
        state.best = {name: value.detach().clone() for name, value in state.network.state_dict().items()}
    return loss


def _resume(state: _Training, path: Path, fingerprint: str, device: torch.device) -> None:
    """Continue from a checkpoint, or restart with a warning if it is damaged or of another training."""
    fresh = {name: value.detach().clone() for name, value in state.network.state_dict().items()}
    before = dict(vars(state))
    if resume(path, fingerprint, device, state.restore):
        logger.info("resuming after epoch %d from %s", state.epoch, path)
        return
    state.network.load_state_dict(fresh)
    vars(state).update(before)
