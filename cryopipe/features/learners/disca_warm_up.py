"""Warm-up of DISCA from random weights: views of one box become similar, views of different boxes dissimilar.

The features of a network with random weights contain little but the noise of the boxes at low SNR, and clusters of them
are not species. A few hundred steps of contrastive learning on randomly rotated copies give features from which the
iterations of DISCA can start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cryopipe.features.learners.disca_options import DiscaOptions
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.yopo import Yopo
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.contrastive_losses import nt_xent
from cryopipe.features.training.distributed import Draws, gather_with_gradient, synchronise_batch_norm
from cryopipe.features.training.fitting import Schedule, fit_network
from cryopipe.features.training.loop import Apply, some_rotated

TEMPERATURE = 0.1
PROJECTED_WIDTH = 32
HIDDEN_WIDTH = 64


class _Projected(nn.Module):
    """Boxes (m, 1, z, y, x) -> (m, PROJECTED_WIDTH): the network and a projection that is dropped afterwards."""

    def __init__(self, network: TransferEncoder | Yopo) -> None:
        super().__init__()
        self.network = network
        self.projection = nn.Sequential(
            nn.Linear(network.feature_width, HIDDEN_WIDTH),
            nn.BatchNorm1d(HIDDEN_WIDTH),
            nn.ELU(),
            nn.Linear(HIDDEN_WIDTH, PROJECTED_WIDTH),
        )

    def forward(self, boxes: Tensor) -> Tensor:
        return self.projection(self.network(boxes).float())


def warm_up(
    network: TransferEncoder | Yopo,
    source: BoxSource,
    options: DiscaOptions,
    noise: Callable[[Tensor, Draws], Tensor] | None,
    seed: int,
    checkpoint: Path | None,
    fingerprint: str,
) -> None:
    """Train `network` for about `options.warm_up` steps; see the docstring of the module.

    Parameters
    ----------
    network
        With random weights.
    source
        The boxes.
    options
        Number of steps, batch size, learning rate, fraction of views that are not rotated.
    noise
        Applied to the views, or None.
    seed
        Seed of the projection, the order of the boxes and the views.
    checkpoint, fingerprint
        See `fit_network`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projected = _Projected(network).to(source.device)
    synchronise_batch_norm(projected)

    def batch_loss(apply: Apply, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        views = [some_rotated(boxes, draws, fraction) for fraction in (options.originals, 0.0)]
        if noise is not None:
            views = [noise(view, draws) for view in views]
        # All views of the batch are compared, those of the other processes included.
        whole = [gather_with_gradient(one, draws.count) for one in apply(torch.cat(views)).chunk(2)]
        return nt_xent(whole[0], whole[1], TEMPERATURE)

    in_epoch = -(-source.count // options.batch_size)
    fit_network(
        projected,
        torch.optim.NAdam(projected.parameters(), lr=options.learning_rate),
        source,
        batch_loss,
        Schedule(-(-options.warm_up // in_epoch), options.batch_size, lambda epoch: options.learning_rate),
        seed,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        what="warm-up",
    )
