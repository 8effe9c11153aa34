"""RB3D (Gupta et al. 2022): the published network of contrastive learning, four bottlenecks with two branches.

As published: one convolution of 32 filters, a pooling, four bottlenecks, the mean of each octant of the maps, 256
features; 0.12 million parameters. There is no batch normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryopipe.errors import ConfigError

PUBLISHED_WIDTHS = (32, 32, 32, 32, 32)
SMALLEST_BOX = 16
"""Edge in voxels of the smallest boxes; in smaller ones the receptive field of the network exceeds the box."""
_OCTANTS = 8


class RB3D(nn.Module):
    """Boxes (n, 1, z, y, x) of at least 16 voxels -> features (n, 8 * last width).

    Parameters
    ----------
    widths
        Filters of the first convolution, then of each bottleneck, which need even numbers: half of its maps are
        computed by each branch.
    """

    def __init__(self, widths: Sequence[int] = PUBLISHED_WIDTHS) -> None:
        super().__init__()
        if any(width % 2 for width in widths[1:]) or min(widths) < 1:
            raise ConfigError(
                f"widths {', '.join(map(str, widths))} of rb3d are odd or not positive",
                remedy="give even numbers of filters in features.contrastive.widths",
            )
        self.widths = tuple(widths)
        self.sizes = {"widths": self.widths}
        self.feature_width = _OCTANTS * self.widths[-1]
        self.first = nn.Conv3d(1, self.widths[0], 3, padding=1)
        pairs = zip(self.widths[:-1], self.widths[1:], strict=True)
        self.bottlenecks = nn.Sequential(*[Bottleneck(before, after) for before, after in pairs])
        for part in self.modules():
            if isinstance(part, nn.Conv3d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                nn.init.zeros_(part.get_parameter("bias"))

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the features of `boxes`; see the class."""
        if min(boxes.shape[2:]) < SMALLEST_BOX:
            raise ConfigError(
                f"boxes of {min(boxes.shape[2:])} voxels are too small for rb3d",
                remedy=f"set subtomograms.box_size to at least {SMALLEST_BOX}",
            )
        maps = F.max_pool3d(F.relu(self.first(boxes)), 2)
        maps = self.bottlenecks(maps)
        return F.adaptive_avg_pool3d(maps.float(), 2).flatten(1)


class Bottleneck(nn.Module):
    """Maps (n, before, z, y, x) -> (n, after, z, y, x): a 3^3 convolution beside a bottleneck of three convolutions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = after // 2
        self.right = nn.Conv3d(before, half, 3, padding=1)
        self.left = nn.Sequential(
            nn.Conv3d(before, half, 1),
            nn.ReLU(),
            nn.Conv3d(half, after, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(after, half, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of both branches."""
        return F.relu(torch.cat([self.left(maps), self.right(maps)], dim=1))
