"""Loss of an episode: prototypes from a few boxes of each class, the others classified by their distances."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cryopipe.features.networks.protonet_network import FewShotNetwork

SPLITS = 2
"""Divisions of an episode's boxes into examples and queries; the features are computed once."""


def episode_loss(
    network: FewShotNetwork, features: Tensor, shots: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return the mean cross-entropy of queries with and without the adaptation of prototypes.

    With and without have equal weight, so that one training serves ProtoNet3D and ProtoNet-CE.

    Parameters
    ----------
    network
        Provides the distances.
    features
        (ways, per_class, d) of an episode's boxes.
    shots
        (lowest, highest) number of examples of each class, drawn for each division; the other boxes are queries.
    generator
        Source of randomness, on the device.
    """
    ways, per_class = features.shape[:2]
    device = features.device
    losses = []
    for _ in range(SPLITS):
        count = int(torch.randint(shots[0], shots[1] + 1, (), generator=generator, device=device))
        order = torch.rand(ways, per_class, generator=generator, device=device).argsort(dim=1)
        mixed = features.gather(1, order[:, :, None].expand_as(features))
        prototypes, queries = mixed[:, :count].mean(dim=1), mixed[:, count:].flatten(0, 1)
        targets = torch.arange(ways, device=device).repeat_interleave(per_class - count)
        losses += [
            F.cross_entropy(-network.distances(prototypes, queries, adapted), targets)
            for adapted in (False, True)
        ]
    return torch.stack(losses).mean()
