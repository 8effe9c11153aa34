"""Views and loss of one training step of contrastive learning, by the options."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cryopipe.boxes import Boxes, voxel_size_of
from cryopipe.errors import ConfigError
from cryopipe.features.learners.contrastive_options import ContrastiveOptions
from cryopipe.features.networks.contrastive_network import ContrastiveNetwork
from cryopipe.features.training.contrastive_losses import info_nce, nt_xent, swapped_prediction
from cryopipe.features.training.distributed import Draws, gather_with_gradient
from cryopipe.features.training.loop import Apply, BatchLoss
from cryopipe.features.training.views import PublishedViews, UniformViews, View

logger = logging.getLogger(__name__)


def views_of(options: ContrastiveOptions, boxes: Boxes, device: torch.device) -> View:
    """Return the views of `boxes`.

    Raises
    ------
    ConfigError
        If a defocus is given and the voxel size is unknown.
    """
    if options.augmentation == "published":
        return PublishedViews()
    ranges = getattr(boxes, "tilt_ranges", None)
    if ranges is None:
        logger.warning(
            "the tilt range of the boxes is unknown: views are rotated without a missing wedge in place"
        )
        ranges = np.broadcast_to([-90.0, 90.0], (len(boxes), 2))
    voxel_size = voxel_size_of(boxes)
    if options.defocus and voxel_size is None:
        raise ConfigError(
            f"features.contrastive.defocus is {list(options.defocus)}, but the boxes do not state their voxel size",
            remedy="set it to [], or give boxes with a voxel size",
        )
    return UniformViews(
        torch.tensor(np.asarray(ranges), dtype=torch.float32, device=device),
        int(boxes.shape[-1]),
        options.noise,
        options.shift,
        options.second_wedge,
        options.defocus,
        voxel_size=voxel_size or 1.0,
    )


def contrastive_loss(options: ContrastiveOptions, network: ContrastiveNetwork, view: View) -> BatchLoss:
    """Return the loss of a batch: two views of each box, compared by the method of the options.

    The loss of a process is that of the boxes of all processes, so that all are compared with one another.
    """
    temperature = options.temperature

    def simclr(apply: Apply, first: Tensor, second: Tensor, count: int) -> Tensor:
        return nt_xent(*_projected(apply, first, second, count), temperature)

    def moco(apply: Apply, first: Tensor, second: Tensor, count: int) -> Tensor:
        network.update_momentum_encoder(options.momentum)
        with torch.no_grad():
            keys = gather_with_gradient(apply(second, True), count)
        queries = gather_with_gradient(apply(first), count)
        loss = info_nce(queries, keys, network.queue, temperature)
        network.enqueue(keys)
        return loss

    def swav(apply: Apply, first: Tensor, second: Tensor, count: int) -> Tensor:
        views = _projected(apply, first, second, count)
        loss = swapped_prediction(*views, network.prototypes, temperature, network.earlier)
        network.enqueue(views[0])
        return loss

    methods: dict[str, Callable[[Apply, Tensor, Tensor, int], Tensor]]
    methods = {"simclr": simclr, "moco": moco, "swav": swav}
    method = methods[options.method]

    def batch_loss(apply: Apply, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        first, second = (view(boxes, indices, draws) for _ in range(2))
        return method(apply, first, second, draws.count)

    return batch_loss


def _projected(apply: Apply, first: Tensor, second: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the projections (count, d) of both views of all boxes of the batch, computed in one call."""
    one, other = apply(torch.cat([first, second])).chunk(2)
    return gather_with_gradient(one, count), gather_with_gradient(other, count)
