"""One epoch of supervised training on turned copies, which a NaN cannot ruin, and optimisers as tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryopipe.errors import LearningError
from cryopipe.features.box_source import BoxSource
from cryopipe.features.devices import autocast, memory_format
from cryopipe.features.rotations import turned_copies, uniform_rotations
from cryopipe.progress import Progress

logger = logging.getLogger(__name__)

MOST_BAD_STEPS = 10
"""Training is given up after this many steps in a row that yield no finite loss or gradient."""


@dataclass(frozen=True)
class EpochReport:
    """What became of an epoch.

    Attributes
    ----------
    loss
        Mean over the good steps; NaN if there was none.
    bad_steps
        Steps that were left out because their loss or gradient was not finite.
    """

    loss: float
    bad_steps: int


def smoothed_targets(labels: Tensor, count: int, smoothing: float) -> Tensor:
    """Return (n, count) targets of `labels` (n,): 1 - smoothing on the label, `smoothing` shared by all."""
    return F.one_hot(labels, count).float() * (1 - smoothing) + smoothing / count


def categorical_hinge(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean categorical hinge of softmax(logits) (n, K) against soft `targets` (n, K).

    max(0, 1 + max_k (1 - t_k) p_k - sum_k t_k p_k), as in Keras; the targets' smoothing acts in both terms.
    """
    chances = logits.softmax(dim=1)
    wrong = ((1 - targets) * chances).amax(dim=1)
    right = (targets * chances).sum(dim=1)
    return (1 + wrong - right).clamp(min=0).mean()


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of softmax(logits) (n, K) against soft `targets` (n, K)."""
    return F.cross_entropy(logits, targets)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": categorical_hinge,
    "cross_entropy": cross_entropy,
}


def guarded_step(loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer) -> bool:
    """Take one step down the gradient of `loss`, unless it or the gradient is not finite; say whether.

    After a bad step the learning rate is halved, and the weights are as before.
    """
    optimiser.zero_grad(set_to_none=True)
    good = bool(torch.isfinite(loss))
    if good:
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        good = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    if good:
        optimiser.step()
        return True
    optimiser.zero_grad(set_to_none=True)
    for group in optimiser.param_groups:
        group["lr"] /= 2
    logger.warning(
        "a step gave no finite number: left out, learning rate now %.3g", optimiser.param_groups[0]["lr"]
    )
    return False


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: BoxSource,
    targets: Tensor,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    batch_size: int,
    generator: torch.Generator,
    prepare: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    what: str = "training",
) -> EpochReport:
    """Show every box once, randomly turned, in random order.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> logits (m, K).
    optimiser
        Over the network's parameters; its rate is halved by a bad step.
    source
        The boxes.
    targets
        (n, K) on the device.
    loss_function
        (logits, targets) -> mean loss.
    batch_size
        Boxes per step.
    generator
        Source of order, rotations and noise, on the device.
    prepare
        What to do to the turned boxes before the network sees them, such as adding noise.
    what
        For the progress message.

    Raises
    ------
    LearningError
        After `MOST_BAD_STEPS` bad steps in a row.
    """
    network.train()
    order = torch.randperm(source.count, generator=generator, device=source.device)
    progress = Progress(source.count, "boxes", what)
    losses: list[float] = []
    bad = in_a_row = 0
    for indices in _batches_of_two_or_more(order, batch_size):
        boxes = source.batch(indices)
        boxes = turned_copies(boxes, uniform_rotations(len(boxes), generator), generator)
        if prepare is not None:
            boxes = prepare(boxes, generator)
        statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
        with autocast(source.device):
            logits = network(boxes[:, None].contiguous(memory_format=memory_format(source.device)))
        loss = loss_function(logits.float(), targets[indices])
        if guarded_step(loss, network, optimiser):
            losses.append(loss.item())
            in_a_row = 0
        else:
            # The forward pass has already put what was not finite into the running statistics.
            for name, buffer in network.named_buffers():
                buffer.copy_(statistics[name])
            bad, in_a_row = bad + 1, in_a_row + 1
        if in_a_row >= MOST_BAD_STEPS:
            raise LearningError(
                f"{in_a_row} training steps in a row gave no finite number",
                remedy="lower features.learning_rate, and run check_tomograms for NaN in the tomograms",
            )
        progress.advance(len(indices))
    return EpochReport(sum(losses) / len(losses) if losses else float("nan"), bad)


def _batches_of_two_or_more(order: Tensor, batch_size: int) -> list[Tensor]:
    """Return batches of `order`; a last box that is alone joins the batch before: one box has no variance."""
    batches = list(order.split(max(2, batch_size)))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments and rates as named tensors."""
    state = optimiser.state_dict()
    tensors = {
        f"{number}.{name}": torch.as_tensor(value).clone()
        for number, moments in state["state"].items()
        for name, value in moments.items()
    }
    rates = [group["lr"] for group in state["param_groups"]]
    return tensors | {"rates": torch.tensor(rates, dtype=torch.float64)}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give `optimiser`, which is over the same parameters, the moments and rates of `optimiser_tensors`."""
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name != "rates":
            number, key = name.split(".", 1)
            moments.setdefault(int(number), {})[key] = value
    for group, rate in zip(state["param_groups"], tensors["rates"], strict=True):
        group["lr"] = float(rate)
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
