"""YOPO, "you only pool once" (Zeng et al. 2023): the published network of DISCA.

A sequence of valid 3^3 convolutions without pooling; the features are computed from the maximum of each block's maps
over the box. As published: ten blocks of 64..208 filters, 1360 maxima, BatchNorm, 1024 features; 6.7 GMAC per box of
24^3. Fewer and narrower blocks can be trained on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cryopipe.errors import ConfigError
from cryopipe.features.training.distributed import Draws

PUBLISHED_WIDTHS = (64, 80, 96, 112, 128, 144, 160, 176, 192, 208)
DROPPED_FRACTION = 0.5
"""Fraction of the input voxels that the noise layer sets to 0."""


class Yopo(nn.Module):
    """Boxes (n, 1, z, y, x) -> features (n, feature_width).

    Parameters
    ----------
    widths
        Filters of each block; every block removes one voxel from each face, so boxes need 2 * blocks + 1 voxels.
    feature_width
        Length of the feature vector.
    """

    def __init__(self, widths: Sequence[int] = PUBLISHED_WIDTHS, feature_width: int = 1024) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.feature_width = feature_width
        self.sizes = {"widths": self.widths, "feature_width": feature_width}
        blocks = []
        before = 1
        for width in self.widths:
            convolution = nn.Conv3d(before, width, 3)
            nn.init.orthogonal_(convolution.weight)
            nn.init.constant_(convolution.get_parameter("bias"), 0.0)
            blocks.append(nn.Sequential(convolution, nn.ELU(), nn.BatchNorm3d(width)))
            before = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(
            nn.BatchNorm1d(sum(self.widths)), nn.Linear(sum(self.widths), feature_width)
        )

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the features of `boxes`; see the class."""
        if boxes.shape[-1] <= 2 * len(self.widths):
            raise ConfigError(
                f"boxes of {boxes.shape[-1]} voxels are too small for {len(self.widths)} valid convolutions",
                remedy=f"use boxes of more than {2 * len(self.widths)} voxels or fewer features.disca.widths",
            )
        maxima = []
        maps = boxes
        for block in self.blocks:
            maps = block(maps)
            maxima.append(maps.amax(dim=(2, 3, 4)))
        return self.head(torch.cat(maxima, dim=1).float())


def noisy_input(boxes: Tensor, draws: Draws) -> Tensor:
    """Apply DISCA's noise layer for training to `boxes` (n, ...).

    Half of the voxels are set to 0, and every voxel is multiplied by Gaussian noise of mean 1 and standard
    deviation 1, as published. The rest is doubled, so that the mean is that of the boxes, on which features are
    computed.
    """
    kept = draws.uniform(*boxes.shape[1:]) >= DROPPED_FRACTION
    factor = 1 + draws.normal(*boxes.shape[1:])
    return boxes * kept * factor / (1 - DROPPED_FRACTION)
