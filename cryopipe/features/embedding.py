"""A network applied to many boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryopipe.errors import LearningError
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.devices import autocast, lay_out
from cryopipe.features.training.distributed import gathered, share
from cryopipe.progress import Progress

MAPS_BYTES = {"cpu": 0.25e9, "cuda": 2e9}
"""Bytes of a network's maps that are held at once, by the type of device.

Libraries choose the order of a sum by the size of the batch (one box is a product of matrix and vector), so features
differ in the last digits between batch sizes. The number of boxes at once therefore never follows `memory_gb`.
"""
_MAPS = 4
"""Maps of the first layer's size that are held at a time."""


def embed_all(network: nn.Module, source: BoxSource, what: str) -> Tensor:
    """Return the features (n, width) of all boxes, in single precision on the device.

    Each process of a team embeds its share, and all get all features.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> features (m, width); it is put into evaluation.
    source
        The boxes.
    what
        For the progress message.

    Raises
    ------
    LearningError
        If features are not finite.
    """
    network.eval()
    layout = lay_out(network, source.device)
    own = torch.arange(source.count)[share(source.count)]
    parts = own.split(_boxes_at_once(network, source))
    progress = Progress(len(own), "boxes", what)
    features = torch.zeros(len(own), 1, device=source.device)
    done = 0
    with torch.no_grad(), autocast(source.device):
        for boxes in source.batches(parts if len(own) else ()):
            found = network(boxes[:, None].contiguous(memory_format=layout)).float()
            if not done:
                features = found.new_empty(len(own), found.shape[1])
            features[done : done + len(found)] = found
            done += len(found)
            progress.advance(len(found))
    features = gathered(features, source.count)
    if not bool(torch.isfinite(features).all()):
        raise LearningError(
            "some features are not finite numbers",
            remedy="run `cryopipe check` for NaN in the tomograms, and train again if features.weights is set",
        )
    return features


def _boxes_at_once(network: nn.Module, source: BoxSource) -> int:
    """Return how many boxes go through the network at once; see `MAPS_BYTES`."""
    bytes_per_voxel = _MAPS * 4 * max(getattr(network, "widths", (16,))[0], 1)
    return max(1, int(MAPS_BYTES[source.device.type] / bytes_per_voxel) // source.box_voxels)
