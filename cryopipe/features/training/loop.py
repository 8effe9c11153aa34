"""Supervised training on rotated copies, with non-finite steps skipped; optimiser states as tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

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


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: BoxSource,
    targets: Tensor,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    batch_size: int,
    generator: torch.Generator,
    prepare: Callable[[Tensor, Draws], Tensor] | None = None,
    what: str = "training",
    forward: Callable[[Tensor], Tensor] | None = None,
) -> EpochReport:
    """Train on every box once, randomly rotated, in random order; every batch is divided among the processes.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> logits (m, K).
    optimiser
        Optimiser of the network's parameters; a bad step halves its learning rate.
    source
        The boxes.
    targets
        (n, K) on the device.
    loss_function
        (logits, targets) -> mean loss.
    batch_size
        Boxes per step.
    generator
        Generator of order, rotations and noise, on the device; in the same state in all processes.
    prepare
        Applied to the rotated boxes before the network, for instance to add noise.
    what
        Text of the progress message.
    forward
        Compiled network, called instead of `network` for batches of the full size.

    Raises
    ------
    LearningError
        After `MAX_BAD_STEPS` consecutive bad steps.
    """
    network.train()
    layout = set_memory_format(network, source.device)
    together = data_parallel(network)
    order = torch.randperm(source.count, generator=generator, device=source.device)
    batches = _batches(order, batch_size, fewest=max(2, process_count()))
    own = [indices[own_slice(len(indices))] for indices in batches]
    progress = Progress(source.count, "boxes", what)
    losses: list[float] = []
    bad = in_a_row = 0
    for whole, indices, boxes in zip(batches, own, source.batches(own), strict=True):
        draws = Draws(generator, len(whole))
        rotated = rotated_copies(boxes, uniform_rotations(draws), draws)
        if prepare is not None:
            rotated = prepare(rotated, draws)
        volumes = rotated[:, None].contiguous(memory_format=layout)
        statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
        apply = forward if forward is not None and len(volumes) == batch_size else together
        with autocast(source.device):
            logits = apply(volumes)
        # The loss of a batch is the mean over its boxes in all processes.
        weight = len(indices) * process_count() / len(whole)
        loss = loss_function(logits.float(), targets[indices]) * weight
        value = guarded_step(loss, network, optimiser, together=True)
        if value is not None:
            losses.append(value)
            in_a_row = 0
        else:
            # The forward pass has already added non-finite values to the running statistics.
            for name, buffer in network.named_buffers():
                buffer.copy_(statistics[name])
            bad, in_a_row = bad + 1, in_a_row + 1
        if in_a_row >= MAX_BAD_STEPS:
            raise LearningError(
                f"{in_a_row} consecutive training steps had a non-finite loss or gradient",
                remedy="lower features.disca.learning_rate, and run `cryopipe check` to find NaN in the tomograms",
            )
        progress.advance(len(whole))
    return EpochReport(sum(losses) / len(losses) if losses else float("nan"), bad)


def _batches(order: Tensor, batch_size: int, fewest: int) -> list[Tensor]:
    """Return batches of `order`; a last batch of fewer than `fewest` is merged into the one before.

    Batch normalisation needs two boxes, and every process at least one.
    """
    batches = list(order.split(max(fewest, batch_size)))
    if len(batches) > 1 and len(batches[-1]) < fewest:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments and learning rates as named tensors."""
    state = optimiser.state_dict()
    tensors = {
        f"{number}.{name}": torch.as_tensor(value).clone()
        for number, moments in state["state"].items()
        for name, value in moments.items()
    }
    rates = [group["lr"] for group in state["param_groups"]]
    return tensors | {"rates": torch.tensor(rates, dtype=torch.float64)}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore moments and learning rates from `optimiser_tensors`; `optimiser` must be of the same parameters."""
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name != "rates":
            number, key = name.split(".", 1)
            moments.setdefault(int(number), {})[key] = value
    for group, rate in zip(state["param_groups"], tensors["rates"], strict=True):
        group["lr"] = float(rate)
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
