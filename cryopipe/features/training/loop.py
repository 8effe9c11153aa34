"""One epoch of supervised training on turned copies, which a NaN cannot ruin, and optimisers as tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryopipe.errors import LearningError
from cryopipe.features.training.augment import turned_copies, uniform_rotations
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.devices import autocast, lay_out
from cryopipe.features.training.distributed import Draws, in_team, processes, share, summed
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


def guarded_step(
    loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer, together: bool = False
) -> float | None:
    """Take one step down the gradient of `loss`, unless it or the gradient is not finite.

    Parameters
    ----------
    loss
        Of this process's boxes.
    network
        Where the gradient goes.
    optimiser
        Over its parameters. After a bad step its learning rates are halved, and the weights are as before.
    together
        Whether all processes take this step, down the mean of their losses: `network` was called by `in_team`.

    Returns
    -------
    The loss, or None after a bad step.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    total = loss.detach().clone()
    if together:
        total = summed(total) / processes()
    # One look at the device: the sum is finite only if every term is.
    norms = torch.stack([total.abs(), *torch._foreach_norm(gradients)])
    if bool(torch.isfinite(norms).all()):
        optimiser.step()
        return float(total)
    optimiser.zero_grad(set_to_none=True)
    for group in optimiser.param_groups:
        group["lr"] /= 2
    logger.warning(
        "a step gave no finite number: left out, learning rate now %.3g", optimiser.param_groups[0]["lr"]
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
    """Show every box once, randomly turned, in random order; a team's processes share out every batch.

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
        Source of order, rotations and noise, on the device; in the same state in all processes.
    prepare
        What to do to the turned boxes before the network sees them, such as adding noise.
    what
        For the progress message.
    forward
        What to call for a batch of the full size in the network's place: the network, compiled.

    Raises
    ------
    LearningError
        After `MOST_BAD_STEPS` bad steps in a row.
    """
    network.train()
    layout = lay_out(network, source.device)
    together = in_team(network)
    order = torch.randperm(source.count, generator=generator, device=source.device)
    batches = _batches(order, batch_size, fewest=max(2, processes()))
    own = [indices[share(len(indices))] for indices in batches]
    progress = Progress(source.count, "boxes", what)
    losses: list[float] = []
    bad = in_a_row = 0
    for whole, indices, boxes in zip(batches, own, source.batches(own), strict=True):
        draws = Draws(generator, len(whole))
        turned = turned_copies(boxes, uniform_rotations(draws), draws)
        if prepare is not None:
            turned = prepare(turned, draws)
        volumes = turned[:, None].contiguous(memory_format=layout)
        statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
        apply = forward if forward is not None and len(volumes) == batch_size else together
        with autocast(source.device):
            logits = apply(volumes)
        # The batch's loss is the mean over its boxes, wherever they are.
        weight = len(indices) * processes() / len(whole)
        loss = loss_function(logits.float(), targets[indices]) * weight
        value = guarded_step(loss, network, optimiser, together=True)
        if value is not None:
            losses.append(value)
            in_a_row = 0
        else:
            # The forward pass has already put what was not finite into the running statistics.
            for name, buffer in network.named_buffers():
                buffer.copy_(statistics[name])
            bad, in_a_row = bad + 1, in_a_row + 1
        if in_a_row >= MOST_BAD_STEPS:
            raise LearningError(
                f"{in_a_row} training steps in a row gave no finite number",
                remedy="lower features.disca.learning_rate, and run `cryopipe check` for NaN in the tomograms",
            )
        progress.advance(len(whole))
    return EpochReport(sum(losses) / len(losses) if losses else float("nan"), bad)


def _batches(order: Tensor, batch_size: int, fewest: int) -> list[Tensor]:
    """Return batches of `order`; a last one of fewer than `fewest` joins the one before.

    One box has no variance, and every process needs one.
    """
    batches = list(order.split(max(fewest, batch_size)))
    if len(batches) > 1 and len(batches[-1]) < fewest:
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
