"""Convolutional autoencoder (Zeng et al. 2018): a box is compressed to a short code and reconstructed from it.

As published: two 3^3 convolutions of 32 filters, each followed by a maximum over 2^3 voxels; a fully connected layer of
32 rectified units, the code; the decoder mirrors the encoder. Weights start as in Keras (Glorot, zero bias), which
the published figures were computed with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Boxes (n, 1, z, y, x) of one size -> reconstructed boxes of the same shape, and the code (n, feature_width).

    Parameters
    ----------
    widths
        Filters of the encoder's convolutions; each is followed by pooling, and the decoder has them in reverse order.
    feature_width
        Length of the code; its values are 0 or positive.
    box_size
        Edge of the boxes, voxels. Inside the network, boxes are padded with 0, their mean, to a multiple of
        2 ** len(widths).
    """

    def __init__(self, widths: Sequence[int] = (32, 32), feature_width: int = 32, box_size: int = 32) -> None:
        super().__init__()
        self.widths, self.feature_width, self.box_size = tuple(widths), feature_width, box_size
        self.sizes = {"widths": self.widths, "feature_width": feature_width, "box_size": box_size}
        if min(*self.widths, feature_width, box_size) < 1:
            raise ValueError(f"widths, code and box of {self.sizes} are not all 1 or more")
        factor = 2 ** len(self.widths)
        self._padded = -(-box_size // factor) * factor
        self._coarse = (self.widths[-1], *[self._padded // factor] * 3)
        encoder: list[nn.Module] = []
        for before, after in itertools.pairwise((1, *self.widths)):
            encoder += [nn.Conv3d(before, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool3d(2)]
        self.encoder = nn.Sequential(*encoder)
        values = self._coarse[0] * self._coarse[1] ** 3
        self.to_code = nn.Linear(values, feature_width)
        self.from_code = nn.Linear(feature_width, values)
        decoder: list[nn.Module] = []
        for before, after in itertools.pairwise((self.widths[-1], *self.widths[::-1])):
            decoder += [
                nn.Upsample(scale_factor=2),
                nn.Conv3d(before, after, 3, padding=1),
                nn.ReLU(inplace=True),
            ]
        self.decoder = nn.Sequential(*decoder, nn.Conv3d(self.widths[0], 1, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.get_parameter("bias"), 0.0)

    def encode(self, boxes: Tensor) -> Tensor:
        """Return the code (n, feature_width) of `boxes` (n, 1, z, y, x)."""
        before = self._padded // 2 - self.box_size // 2
        after = self._padded - self.box_size - before
        maps = self.encoder(F.pad(boxes, (before, after) * 3))
        # Flattened in one order of the voxels for any memory layout.
        return F.relu(self.to_code(maps.contiguous().flatten(1).float()))

    def decode(self, code: Tensor) -> Tensor:
        """Return the boxes (n, 1, z, y, x) that `code` (n, feature_width) stands for."""
        maps = F.relu(self.from_code(code)).unflatten(1, self._coarse)
        boxes: Tensor = self.decoder(maps)
        before = self._padded // 2 - self.box_size // 2
        inside = slice(before, before + self.box_size)
        return boxes[..., inside, inside, inside]

    def forward(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstructed boxes and the code; see the class."""
        code = self.encode(boxes)
        return self.decode(code), code
