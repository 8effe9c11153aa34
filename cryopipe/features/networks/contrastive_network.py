"""Network of contrastive learning: the network that computes features, a projection, and the memory of MoCo and SwAV."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RISE = 10
"""Steps over which the momentum rises: it is at most (1 + t) / (RISE + t) at step t, so that short trainings do not
compare with random weights."""


class ContrastiveNetwork(nn.Module):
    """Boxes (n, 1, z, y, x) -> projections (n, projection_width) of their features.

    The projection is dropped after training. All memory is in buffers, so that it is in checkpoints: the momentum
    encoder and its keys (MoCo), features of earlier batches (SwAV).

    Parameters
    ----------
    backbone
        Network that computes features; its attribute `feature_width` states their number.
    method
        simclr, moco or swav.
    projection_width
        Length of the projection. It is linear for MoCo, as published, and has a hidden layer for SimCLR and SwAV.
    queue
        Number of rows in the queue; SimCLR has none.
    prototypes
        Number of prototypes of SwAV.
    """

    queue: Tensor
    filled: Tensor
    steps: Tensor

    def __init__(
        self, backbone: nn.Module, method: str, projection_width: int, queue: int, prototypes: int
    ) -> None:
        super().__init__()
        width = int(backbone.feature_width)  # type: ignore[arg-type]
        self.backbone = backbone
        hidden: list[nn.Module] = [] if method == "moco" else [nn.Linear(width, width), nn.ReLU()]
        self.projection = nn.Sequential(*hidden, nn.Linear(width, projection_width))
        if method == "swav":
            self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, projection_width)))
        if method == "moco":
            self.momentum_encoder = _frozen(nn.Sequential(backbone, self.projection))
        rows = 0 if method == "simclr" else queue
        self.register_buffer("queue", F.normalize(torch.randn(rows, projection_width)))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, boxes: Tensor, keys: bool = False) -> Tensor:
        """Return projections of `boxes`, in single precision; with `keys` those of the momentum encoder."""
        if keys:
            with torch.no_grad():
                return self.momentum_encoder(boxes).float()
        return self.projection(self.backbone(boxes)).float()

    def train(self, mode: bool = True) -> ContrastiveNetwork:
        """Set the training mode; the momentum encoder always uses running statistics.

        Batch statistics would reveal which queries and keys are of one batch.
        """
        super().train(mode)
        if hasattr(self, "momentum_encoder"):
            self.momentum_encoder.eval()
        return self

    @torch.no_grad()
    def update_momentum_encoder(self, momentum: float) -> None:
        """Move the momentum encoder towards the trained weights: new = m * old + (1 - m) * trained."""
        steps = int(self.steps)
        kept = min(momentum, (1 + steps) / (RISE + steps))
        current = nn.Sequential(self.backbone, self.projection).state_dict()
        for name, value in self.momentum_encoder.named_buffers():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - kept)
        self.steps += 1

    @torch.no_grad()
    def enqueue(self, rows: Tensor) -> None:
        """Replace the oldest rows of the queue by `rows` (m, d)."""
        size = len(self.queue)
        if size == 0:
            return
        rows = rows.detach()[-size:]
        places = (int(self.filled) + torch.arange(len(rows), device=rows.device)) % size
        self.queue[places] = F.normalize(rows).to(self.queue.dtype)
        self.filled += len(rows)

    @property
    def earlier(self) -> Tensor | None:
        """The queue once it contains no initial rows; None before."""
        return self.queue if int(self.filled) >= len(self.queue) > 0 else None


def _frozen(network: nn.Module) -> nn.Module:
    """Return a copy of `network` whose parameters are buffers."""
    network = copy.deepcopy(network)
    for part in network.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, value.detach())
    return network.eval()
