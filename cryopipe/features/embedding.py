"""Embedding: features of all boxes from a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryopipe.errors import LearningError
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.devices import autocast, set_memory_format
from cryopipe.features.training.distributed import gather_rows, own_slice
from cryopipe.progress import Progress

MAPS_BYTES = {"cpu": 64e6, "cuda": 2e9}
"""Memory of a network's maps in one batch, in bytes, by type of device.

Libraries choose the order of summation by the batch size, so features differ in the last digits between batch sizes.
The batch size therefore does not depend on `memory_gb`.
"""
_MAPS = 4
"""Number of maps of the first layer's size that are in memory at a time."""


def embed_all(network: nn.Module, source: BoxSource, what: str) -> Tensor:
    """Return the features (n, width) of all boxes, in single precision on the device.

    Each process embeds its own part of the boxes; every process returns all features.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> features (m, width); it is switched to evaluation mode.
    source
        The boxes.
    what
        Text of the progress message.

    Raises
    ------
    LearningError
        If features are not finite.
    """
    network.eval()
    layout = set_memory_format(network, source.device)
    own = torch.arange(source.count)[own_slice(source.count)]
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
    features = gather_rows(features, source.count)
    if not bool(torch.isfinite(features).all()):
        raise LearningError(
            "some features are not finite",
            remedy="run `cryopipe check` to find NaN in the tomograms; if features.weights is set, train those weights again",
        )
    return features


def _boxes_at_once(network: nn.Module, source: BoxSource) -> int:
    """Return the batch size; see `MAPS_BYTES`."""
    bytes_per_voxel = _MAPS * 4 * max(getattr(network, "widths", (16,))[0], 1)
    return max(1, int(MAPS_BYTES[source.device.type] / bytes_per_voxel) // source.box_voxels)
