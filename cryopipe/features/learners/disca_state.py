"""State of DISCA's training between two iterations, and its checkpoint on disk.

It contains no random state: random numbers depend on the seed and the iteration only. The next iteration uses the labels
of the last mixture but not its Gaussians, because training changes the features.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryopipe.errors import FileError
from cryopipe.features.training import checkpoint
from cryopipe.features.training.checkpoint import optimiser_tensors, restore_optimiser
from cryopipe.mixtures.components import Projection
from cryopipe.mixtures.gaussian import Mixture


@dataclass
class Best:
    """Best iteration so far: the one whose clusters two halves of the boxes agree on most.

    Attributes
    ----------
    iteration
        Number of the iteration, from 0.
    information
        Mean mutual information of the clusters found in two halves of the boxes, nats; higher is better.
    network
        Weights of the network that gave the clusters, before the training of that iteration.
    projection
        Projection on the principal components that were clustered.
    labels
        (n,) clusters 0..K-1.
    mixture
        Mixture of the principal components; component k is cluster k.
    """

    iteration: int
    information: float
    network: dict[str, Tensor]
    projection: Projection
    labels: NDArray[np.int64]
    mixture: Mixture


@dataclass
class DiscaState:
    """State of training.

    Attributes
    ----------
    network
        Boxes -> features.
    head
        Features -> logits of the clusters; None before the first clustering.
    optimiser
        Optimiser of the parameters of both.
    learning_rate, smoothing
        Values for the next epoch.
    labels
        (n,) clusters of the previous iteration.
    iteration
        Number of completed iterations.
    finished
        Whether training has ended.
    best
        See `Best`.
    history
        One row per iteration.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    learning_rate: float
    smoothing: float
    head: nn.Linear | None = None
    labels: NDArray[np.int64] | None = None
    iteration: int = 0
    finished: bool = False
    best: Best | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def fresh(cls, network: nn.Module, learning_rate: float, smoothing: float) -> DiscaState:
        """Return the state before the first iteration."""
        optimiser = torch.optim.NAdam([{"params": list(network.parameters())}], lr=learning_rate)
        return cls(network, optimiser, learning_rate, smoothing)

    def best_so_far(self) -> Best:
        """Return the best iteration; it exists after the first iteration."""
        if self.best is None:
            raise ValueError("no iteration is complete yet")
        return self.best

    def classifier(self) -> nn.Sequential:
        """Return network and last layer: boxes -> logits."""
        if self.head is None:
            raise ValueError("there is no last layer before the first clustering")
        return nn.Sequential(self.network, self.head)

    def replace_head(self, weight: Tensor, bias: Tensor) -> None:
        """Replace the last layer by one with `weight` (K, width) and `bias` (K,), also in the optimiser.

        The optimiser's moments of the network are kept.
        """
        if self.head is not None:
            for parameter in self.head.parameters():
                self.optimiser.state.pop(parameter, None)
            del self.optimiser.param_groups[1]
        self.head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
        self.head.load_state_dict({"weight": weight, "bias": bias})
        self.optimiser.add_param_group({"params": list(self.head.parameters())})


def write_checkpoint(path: str | os.PathLike[str], state: DiscaState, fingerprint: str) -> None:
    """Write the state after an iteration; `fingerprint` identifies the run."""
    best, head = state.best_so_far(), state.head
    parts: dict[str, dict[str, Tensor]] = {
        "network": state.network.state_dict(),
        "head": {} if head is None else head.state_dict(),
        "optimiser": optimiser_tensors(state.optimiser),
        "best.network": best.network,
        "best.mixture": vars(best.mixture),
        "best": {
            "mean": best.projection.mean,
            "axes": best.projection.axes,
            "labels": torch.from_numpy(best.labels),
        },
        "": {} if state.labels is None else {"labels": torch.from_numpy(state.labels)},
    }
    numbers = {
        "iteration": state.iteration,
        "finished": state.finished,
        "learning_rate": state.learning_rate,
        "smoothing": state.smoothing,
        "best_iteration": best.iteration,
        "best_information": best.information,
        "history": state.history,
    }
    checkpoint.write_checkpoint(path, parts, numbers, fingerprint)


def read_checkpoint(path: str | os.PathLike[str], state: DiscaState, fingerprint: str) -> None:
    """Restore `state`, a fresh state of the same network architecture, from a checkpoint.

    Raises
    ------
    FileError
        If the file is damaged or belongs to another run. The network of `state` is then unchanged, but the rest may
        not be: continue with a fresh state.
    """
    found = checkpoint.read_checkpoint(path, fingerprint, next(state.network.parameters()).device)
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    try:
        _restore(state, found)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        state.network.load_state_dict(before)
        raise FileError(f"the checkpoint is damaged ({error!r})", file=path) from error


def _restore(state: DiscaState, found: checkpoint.Checkpoint) -> None:
    tensors, numbers = found.tensors, found.numbers
    state.network.load_state_dict(found.part("network"))
    head = found.part("head")
    if head:
        state.replace_head(**head)
    restore_optimiser(state.optimiser, found.part("optimiser"))
    state.labels = tensors["labels"].cpu().numpy()
    state.iteration, state.finished = numbers["iteration"], numbers["finished"]
    state.learning_rate, state.smoothing = numbers["learning_rate"], numbers["smoothing"]
    state.history = numbers["history"]
    state.best = Best(
        numbers["best_iteration"],
        numbers["best_information"],
        found.part("best.network"),
        Projection(tensors["best.mean"], tensors["best.axes"]),
        tensors["best.labels"].cpu().numpy(),
        Mixture(**found.part("best.mixture")),
    )
