"""Transfer encoder: convolutions at three scales, pooled over the box to one vector.

It follows DeepFinder's encoder (Moebel & Kervrann 2022: pairs of 3^3 convolutions between poolings, a 32-d head), with
three differences. The last maps are pooled over the box, so that boxes of any size can be used. Every convolution is
followed by batch normalisation; without it, or with another normalisation, training did not progress. Besides maximum
and mean, a mean weighted by a Gaussian about the box centre is used: it separates the picked particle from its
neighbours, and a centred particle from one picked at its edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VIEW = 24
"""Edge in voxels of the central part of larger boxes that the encoder uses: pooled maps keep the statistics of the
training, and fewer neighbours are included."""
CENTRE_WIDTH = 2.5
"""Standard deviation of the central weight, in voxels of the last maps (four voxels of the box each)."""


class TransferEncoder(nn.Module):
    """Boxes (n, 1, z, y, x) of at least 8 voxels -> features (n, feature_width), each of length sqrt(feature_width).

    Training separates classes by direction only; variable lengths would broaden the clusters.

    Parameters
    ----------
    widths
        Filters at full, half and quarter resolution.
    feature_width
        Length of the feature vector.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64), feature_width: int = 32) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.feature_width = feature_width
        self.sizes = {"widths": self.widths, "feature_width": feature_width}
        blocks: list[nn.Module] = []
        before = 1
        for level, width in enumerate(self.widths):
            if level:
                blocks.append(nn.MaxPool3d(2))
            blocks.append(_convolution(before, width))
            if level:
                blocks.append(_convolution(width, width))
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.BatchNorm1d(3 * before),
            nn.Linear(3 * before, 128),
            nn.BatchNorm1d(128),
            nn.ELU(),
            nn.Linear(128, feature_width),
            nn.BatchNorm1d(feature_width, affine=False),
        )

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the features of `boxes`; see the class."""
        maps = self.blocks(central_part(boxes, VIEW)).float()
        weight = central_weight(maps.shape[-1], maps.device)
        pooled = torch.cat(
            [maps.amax(dim=(2, 3, 4)), maps.mean(dim=(2, 3, 4)), (maps * weight).sum(dim=(2, 3, 4))], dim=1
        )
        return F.normalize(self.head(pooled)) * self.feature_width**0.5


def central_part(boxes: Tensor, size: int) -> Tensor:
    """Return the central part of `boxes` (..., z, y, x), about voxel n // 2: at most `size` voxels along each axis."""
    for axis in (-3, -2, -1):
        length = boxes.shape[axis]
        if length > size:
            boxes = boxes.narrow(axis, length // 2 - size // 2, size)
    return boxes


def central_weight(size: int, device: torch.device, width: float = CENTRE_WIDTH) -> Tensor:
    """Return a Gaussian of `width` voxels about voxel size // 2, (size, size, size), with sum 1.

    The centre of a pooled map is slightly before the centre of its middle voxel; the difference, half a voxel, is
    below the precision of picks.
    """
    axis = (torch.arange(size, device=device) - size // 2).float()
    profile = torch.exp(-0.5 * (axis / width).square())
    weight = profile[:, None, None] * profile[None, :, None] * profile[None, None, :]
    return weight / weight.sum()


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(before, after, 3, padding=1, bias=False), nn.BatchNorm3d(after), nn.ELU())
