"""Training steps, with non-finite ones skipped; losses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryopipe.errors import LearningError
from cryopipe.features.training.augment import rotated_copies, uniform_rotations
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.devices import autocast, set_memory_format
from cryopipe.features.training.distributed import (
    Draws,
    data_parallel,
    own_slice,
    process_count,
    sum_over_processes,
)
from cryopipe.progress import Progress

logger = logging.getLogger(__name__)

MAX_BAD_STEPS = 10
"""Training stops with an error after this many consecutive steps with a non-finite loss or gradient."""


Apply = Callable[..., Any]
"""Network in training: boxes (m, z, y, x) -> its output; see `Steps.apply`."""
BatchLoss = Callable[[Apply, Tensor, Tensor, Draws], Tensor]
"""(network, boxes (m, z, y, x), their indices (m,), random numbers) -> mean loss of this process's boxes."""


@dataclass(frozen=True)
class EpochReport:
    """Result of an epoch.

    Attributes
    ----------
    loss
        Mean over the steps with a finite loss; NaN if there was none.
    bad_steps
        Number of steps skipped because their loss or gradient was not finite.
    """

    loss: float
    bad_steps: int


def smoothed_targets(labels: Tensor, count: int, smoothing: float) -> Tensor:
    """Return (n, count) targets of `labels` (n,): 1 - smoothing on the label, `smoothing` divided among all."""
    return F.one_hot(labels, count).float() * (1 - smoothing) + smoothing / count


def categorical_hinge(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean categorical hinge of softmax(logits) (n, K) against soft `targets` (n, K).

    max(0, 1 + max_k (1 - t_k) p_k - sum_k t_k p_k), as in Keras; label smoothing affects both terms.
    """
    probabilities = logits.softmax(dim=1)
    wrong = ((1 - targets) * probabilities).amax(dim=1)
    right = (targets * probabilities).sum(dim=1)
    return (1 + wrong - right).clamp(min=0).mean()


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of softmax(logits) (n, K) against soft `targets` (n, K)."""
    return F.cross_entropy(logits, targets)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": categorical_hinge,
    "cross_entropy": cross_entropy,
}


def guarded_step(
    loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer, together: bool = False
) -> float | None:
    """Take one step down the gradient of `loss`, unless it or the gradient is not finite.

    Parameters
    ----------
    loss
        Loss of this process's boxes.
    network
        Network that gets the gradient.
    optimiser
        Optimiser of its parameters. A bad step halves its learning rates and does not change the weights.
    together
        Whether all processes take this step on the mean of their losses; `network` was called by `data_parallel`.

    Returns
    -------
    The loss, or None after a bad step.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    total = loss.detach().clone()
    if together:
        total = sum_over_processes(total) / process_count()
    # One transfer from the device: the sum is finite only if every term is.
    norms = torch.stack([total.abs(), *torch._foreach_norm(gradients)])
    if bool(torch.isfinite(norms).all()):
        optimiser.step()
        return float(total)
    optimiser.zero_grad(set_to_none=True)
    for group in optimiser.param_groups:
        group["lr"] /= 2
    logger.warning(
        "non-finite loss or gradient: step skipped, learning rate reduced to %.3g",
        optimiser.param_groups[0]["lr"],
    )
    return None


def rotated_classification(
    targets: Tensor,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    prepare: Callable[[Tensor, Draws], Tensor] | None = None,
    originals: float = 0.0,
) -> BatchLoss:
    """Return the loss of classifying boxes and randomly rotated copies of boxes.

    Parameters
    ----------
    targets
        (n, K) of all boxes, on the device.
    loss_function
        (logits, targets) -> mean loss.
    prepare
        Applied to the boxes before the network, for instance to add noise.
    originals
        Probability that a box is used as it is instead of rotated. Features are computed of boxes as they are.
    """

    def batch_loss(apply: Apply, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        rotated = some_rotated(boxes, draws, originals)
        if prepare is not None:
            rotated = prepare(rotated, draws)
        return loss_function(apply(rotated).float(), targets[indices])

    return batch_loss


def some_rotated(boxes: Tensor, draws: Draws, originals: float) -> Tensor:
    """Return each of `boxes` (m, z, y, x) as it is, with the probability `originals`, or randomly rotated."""
    rotated = rotated_copies(boxes, uniform_rotations(draws), draws)
    if originals > 0:
        kept = draws.uniform() < originals
        rotated = torch.where(kept[:, None, None, None], boxes, rotated)
    return rotated


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: BoxSource,
    batch_loss: BatchLoss,
    batch_size: int,
    generator: torch.Generator,
    what: str = "training",
    forward: Callable[[Tensor], Any] | None = None,
    members: Tensor | None = None,
) -> EpochReport:
    """Train on every box once, in random order; every batch is divided among the processes.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> what `batch_loss` expects.
    optimiser
        Optimiser of the network's parameters; a bad step halves its learning rate.
    source
        The boxes.
    batch_loss
        See `BatchLoss`.
    batch_size
        Boxes per step.
    generator
        Generator of order and draws, on the device; in the same state in all processes.
    what
        Text of the progress message.
    forward
        Compiled network, called instead of `network` for batches of the full size.
    members
        Indices (m,) of the boxes to train on; None for all.

    Raises
    ------
    LearningError
        After `MAX_BAD_STEPS` consecutive bad steps.
    """
    steps = Steps(network, optimiser, source.device, forward, batch_size)
    count = source.count if members is None else len(members)
    order = torch.randperm(count, generator=generator, device=source.device)
    if members is not None:
        order = members.to(source.device)[order]
    batches = _batches(order, batch_size, fewest=max(2, process_count()))
    own = [indices[own_slice(len(indices))] for indices in batches]
    progress = Progress(count, "boxes", what)
    for whole, indices, boxes in zip(batches, own, source.batches(own), strict=True):
        draws = Draws(generator, len(whole))
        # The loss of a batch is the mean over its boxes in all processes.
        weight = len(indices) * process_count() / len(whole)
        steps.take(partial(_weighted, batch_loss, boxes, indices, draws, weight))
        progress.advance(len(whole))
    return steps.report()


def _weighted(
    batch_loss: BatchLoss, boxes: Tensor, indices: Tensor, draws: Draws, weight: float, apply: Apply
) -> Tensor:
    return batch_loss(apply, boxes, indices, draws) * weight


class Steps:
    """Training steps of one epoch; those with a non-finite loss or gradient are skipped.

    Parameters
    ----------
    network
        Network to train; it is set to training mode.
    optimiser
        Optimiser of its parameters.
    device
        Device of the network.
    forward, batch_size
        Compiled network, for batches of this size.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        device: torch.device,
        forward: Callable[[Tensor], Any] | None = None,
        batch_size: int = 0,
    ) -> None:
        network.train()
        self.network, self.optimiser, self.device = network, optimiser, device
        self._forward, self._batch_size = forward, batch_size
        self._layout = set_memory_format(network, device)
        self._together = data_parallel(network)
        self._losses: list[float] = []
        self._bad = self._in_a_row = 0

    def apply(self, boxes: Tensor, *arguments: Any) -> Any:
        """Return the network's output for `boxes` (m, z, y, x), in the device's fast number format."""
        volumes = boxes[:, None].contiguous(memory_format=self._layout)
        compiled = self._forward if len(volumes) == self._batch_size else None
        with autocast(self.device):
            return (compiled or self._together)(volumes, *arguments)

    def take(self, loss: Callable[[Apply], Tensor]) -> None:
        """Take one step down the gradient of `loss`, a function of `apply`.

        Raises
        ------
        LearningError
            After `MAX_BAD_STEPS` consecutive bad steps.
        """
        statistics = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        value = guarded_step(loss(self.apply), self.network, self.optimiser, together=True)
        if value is not None:
            self._losses.append(value)
            self._in_a_row = 0
            return
        # The forward pass has already added non-finite values to the running statistics.
        for name, buffer in self.network.named_buffers():
            buffer.copy_(statistics[name])
        self._bad, self._in_a_row = self._bad + 1, self._in_a_row + 1
        if self._in_a_row >= MAX_BAD_STEPS:
            raise LearningError(
                f"{self._in_a_row} consecutive training steps had a non-finite loss or gradient",
                remedy="lower the learner's learning_rate, and run `cryopipe check` to find NaN in the tomograms",
            )

    def report(self) -> EpochReport:
        """Return the result of the steps taken."""
        losses = self._losses
        return EpochReport(sum(losses) / len(losses) if losses else float("nan"), self._bad)


def _batches(order: Tensor, batch_size: int, fewest: int) -> list[Tensor]:
    """Return batches of `order`; a last batch of fewer than `fewest` is merged into the one before.

    Batch normalisation needs two boxes, and every process at least one.
    """
    batches = list(order.split(max(fewest, batch_size)))
    if len(batches) > 1 and len(batches[-1]) < fewest:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches
