"""A network applied to many boxes, and features reduced to their principal components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cryopipe.features.box_source import BoxSource
from cryopipe.features.devices import autocast, memory_format
from cryopipe.progress import Progress

VOXELS_AT_ONCE = 1_000_000
"""Voxels of the boxes that go through a network at once, on a processor; a GPU takes 32 times as many."""


def embed_all(network: nn.Module, source: BoxSource, what: str) -> Tensor:
    """Return the features (n, width) of all boxes, in single precision on the device.

    Parameters
    ----------
    network
        Boxes (m, 1, z, y, x) -> features (m, width); it is put into evaluation.
    source
        The boxes.
    what
        For the progress message.
    """
    network.eval()
    batch = max(1, VOXELS_AT_ONCE * (32 if source.device.type == "cuda" else 1) // source.box_voxels)
    progress = Progress(source.count, "boxes", what)
    parts = []
    with torch.no_grad(), autocast(source.device):
        for indices, boxes in source.batches(torch.arange(source.count), batch):
            volumes = boxes[:, None].contiguous(memory_format=memory_format(source.device))
            parts.append(network(volumes).float())
            progress.advance(len(indices))
    return torch.cat(parts) if parts else torch.zeros(0, 1, device=source.device)


@dataclass(frozen=True)
class Projection:
    """Principal components: `(features - mean) @ axes`.

    Attributes
    ----------
    mean
        (width,).
    axes
        (width, d), scaled so that the first component has variance 1.
    """

    mean: Tensor
    axes: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Return (n, d) components of `features` (n, width)."""
        return (features - self.mean) @ self.axes


def principal_components(features: Tensor, count: int) -> Projection:
    """Return the leading principal components of `features` (n, width).

    There are at most `count`, and fewer for few particles: a covariance in d dimensions cannot be told from fewer
    than some ten particles per dimension.
    """
    particles, width = features.shape
    dimensions = max(1, min(count, width, particles // 10))
    values = features.double()
    mean = values.mean(dim=0)
    covariance = (values - mean).T @ (values - mean) / max(1, particles - 1)
    variances, axes = torch.linalg.eigh(covariance)
    axes = axes[:, -dimensions:].flip(1)
    # An eigenvector's sign is arbitrary; the largest entry is made positive so that results repeat.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    scale = variances[-1].clamp(min=1e-12).sqrt()
    return Projection(
        mean.to(features.dtype), (axes * largest.sign() / scale).to(features.dtype).contiguous()
    )
