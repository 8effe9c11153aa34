"""Prototypical networks for few-shot classification: ProtoNet3D, ProtoNet-CE (Li 2020), and prototypes on the encoder.

A class is represented by its prototype, the mean of the features of its labelled boxes; a box belongs to the class with
the nearest prototype. ProtoNet-CE adapts prototypes and query to each other by self-attention and adds the distance
after the adaptation to the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cryopipe.features.networks.encoder import TransferEncoder, central_part

BLOCKS = 4
"""Number of blocks of ProtoNet3D; each halves the maps."""
SMALLEST_BOX = 2**BLOCKS
BACKBONES = ("encoder", "protonet3d")


class ProtoNet3D(nn.Module):
    """Boxes (n, 1, z, y, x) of at least 16 voxels -> features (n, width * (view // 16)^3).

    Four blocks of convolution, batch normalisation, ReLU and maximum over 2^3 voxels; the last maps are the features.
    With 64 filters these are 64 numbers for 16 to 31 voxels and 512 for 32 to 47, as published.

    Parameters
    ----------
    width
        Filters of each block.
    view
        Edge of the boxes in voxels, on which the number of features depends; of larger boxes the central part is used.
    """

    def __init__(self, width: int = 64, view: int = 32) -> None:
        super().__init__()
        self.widths = (width,) * BLOCKS
        self.view = view
        self.feature_width = width * (view // SMALLEST_BOX) ** 3
        blocks = [
            nn.Sequential(
                nn.Conv3d(before, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(), nn.MaxPool3d(2)
            )
            for before in (1, *self.widths[:-1])
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the features of `boxes`; see the class."""
        return self.blocks(central_part(boxes, self.view)).float().flatten(1)


class SetAdaptation(nn.Module):
    """Self-attention with one head over a set of vectors, added to them and normalised: (m, s, width) -> (m, s, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the adapted vectors; see the class."""
        scores = self.query(vectors) @ self.key(vectors).transpose(1, 2) / vectors.shape[2] ** 0.5
        return self.norm(vectors + self.out(scores.softmax(dim=2) @ self.value(vectors)))


class FewShotNetwork(nn.Module):
    """Backbone, adaptation and scale of distances; the features (n, feature_width) are those of the backbone.

    Parameters
    ----------
    backbone
        0 for the transfer encoder, 1 for ProtoNet3D: index into `BACKBONES`.
    widths
        Filters of the encoder at each scale; the first is that of ProtoNet3D.
    view
        Edge of the boxes for ProtoNet3D, voxels.
    """

    def __init__(self, backbone: int = 0, widths: Sequence[int] = (16, 32, 64), view: int = 24) -> None:
        super().__init__()
        self.sizes: dict[str, Any] = {"backbone": backbone, "widths": tuple(widths), "view": view}
        self.backbone: TransferEncoder | ProtoNet3D = (
            TransferEncoder(widths) if BACKBONES[backbone] == "encoder" else ProtoNet3D(widths[0], view)
        )
        self.widths = self.backbone.widths
        self.feature_width = self.backbone.feature_width
        self.adaptation = SetAdaptation(self.feature_width)
        # Distances of random features grow with their number; the scale is learned from there.
        self.log_scales = nn.Parameter(torch.zeros(2))

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the features (n, feature_width) of `boxes` (n, 1, z, y, x)."""
        return self.backbone(boxes)

    def distances(self, prototypes: Tensor, queries: Tensor, adapted: bool) -> Tensor:
        """Return scaled squared distances (m, K) of `queries` (m, d) from `prototypes` (K, d).

        The softmax of their negatives is the probability of each class. With `adapted`, the distances after the
        adaptation are added, as in ProtoNet-CE.
        """
        scales = self.log_scales.exp() / self.feature_width
        found = scales[0] * (queries[:, None] - prototypes[None]).square().sum(dim=2)
        if adapted:
            sets = torch.cat([prototypes.expand(len(queries), -1, -1), queries[:, None]], dim=1)
            moved = self.adaptation(sets)
            found = found + scales[1] * (moved[:, -1:] - moved[:, :-1]).square().sum(dim=2)
        return found


def class_means(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the prototypes (count, d): means of `features` (n, d) over each class of `labels` (n,), 0..count-1."""
    sums = features.new_zeros(count, features.shape[1]).index_add_(0, labels, features)
    return sums / torch.bincount(labels, minlength=count).clamp(min=1)[:, None]
