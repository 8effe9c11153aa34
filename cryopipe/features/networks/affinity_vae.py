"""Network of affinity-VAE: a variational autoencoder whose code has a latent part and a pose part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_LOG_VARIANCE = 10.0
"""Largest absolute value of log sigma^2, so that its exponential stays finite."""


class Coded(NamedTuple):
    """Output of the network for m boxes.

    Attributes
    ----------
    restored
        (m, 1, z, y, x) decoded boxes.
    mean, log_variance
        (m, latent_width) of each box's distribution in the latent space.
    pose
        (m, pose_width).
    """

    restored: Tensor
    mean: Tensor
    log_variance: Tensor
    pose: Tensor


class AffinityVae(nn.Module):
    """Boxes (m, 1, z, y, x) -> `Coded`.

    Convolutions of stride 2 with batch normalisation, then three linear heads of the flattened maps: mean and
    log-variance of the latent code, and the pose, which has no distribution. The decoder mirrors the encoder; its
    input is the latent code beside the pose.

    Parameters
    ----------
    box_size
        Voxels; the heads are linear functions of maps of a fixed size.
    widths
        Filters of each convolution (published: 64, 128, 256).
    latent_width
        Length of the latent code (published: 8; 6 for proteins).
    pose_width
        Length of the pose, 0 for none (published: 1).
    """

    def __init__(
        self,
        box_size: int,
        widths: Sequence[int] = (64, 128, 256),
        latent_width: int = 8,
        pose_width: int = 1,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.sizes: dict[str, Any] = {
            "box_size": box_size,
            "widths": self.widths,
            "latent_width": latent_width,
            "pose_width": pose_width,
        }
        edges = [box_size]
        for _ in self.widths:
            edges.append((edges[-1] + 1) // 2)
        channels = [1, *self.widths]
        self.encoder = nn.Sequential(
            *(_down(before, after) for before, after in pairwise(channels)), nn.Flatten()
        )
        self._maps = (self.widths[-1], *(edges[-1],) * 3)
        flat = self.widths[-1] * edges[-1] ** 3
        self.mean = nn.Linear(flat, latent_width)
        self.log_variance = nn.Linear(flat, latent_width)
        self.pose = nn.Linear(flat, pose_width) if pose_width else None
        self.expand = nn.Linear(latent_width + pose_width, flat)
        levels = range(len(self.widths), 0, -1)
        self.decoder = nn.Sequential(
            *(_up(channels[i], channels[i - 1], edges[i], edges[i - 1], last=i == 1) for i in levels)
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("typical_pose", torch.zeros(pose_width))

    typical_pose: Tensor
    """(pose_width,) running mean of the poses in training, whose values have no fixed origin."""
    step: Tensor
    """Number of training steps taken, on which annealing depends; saved with the weights."""

    def forward(self, boxes: Tensor, noise: Tensor) -> Coded:
        """Encode `boxes`, draw a code from each distribution by `noise` (m, latent_width), N(0, 1), and decode it."""
        mean, log_variance, pose = self.encode(boxes)
        code = mean + noise * (0.5 * log_variance).exp()
        return Coded(self.decode(code, pose), mean, log_variance, pose)

    def encode(self, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, log-variance and pose of boxes (m, 1, z, y, x) in single precision."""
        maps = self.encoder(boxes)
        pose = maps.new_zeros(len(maps), 0) if self.pose is None else self.pose(maps)
        log_variance = self.log_variance(maps).float().clamp(-_LOG_VARIANCE, _LOG_VARIANCE)
        return self.mean(maps).float(), log_variance, pose.float()

    def decode(self, latents: Tensor, pose: Tensor) -> Tensor:
        """Return boxes (m, 1, z, y, x) of codes (m, latent_width) and poses (m, pose_width)."""
        maps = self.expand(torch.cat([latents, pose], dim=1)).relu()
        return self.decoder(maps.unflatten(1, self._maps)).float()


class LatentPart(nn.Module):
    """Boxes (m, 1, z, y, x) -> means of the latent distributions, and with `with_pose` the poses beside them."""

    def __init__(self, network: AffinityVae, with_pose: bool = False) -> None:
        super().__init__()
        self.network, self.with_pose, self.widths = network, with_pose, network.widths

    def forward(self, boxes: Tensor) -> Tensor:
        """Return (m, latent_width), or (m, latent_width + pose_width)."""
        mean, _, pose = self.network.encode(boxes)
        return torch.cat([mean, pose], dim=1) if self.with_pose else mean


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm3d(after), nn.ReLU()
    )


def _up(before: int, after: int, edge: int, target: int, last: bool) -> nn.Sequential:
    """Return a layer from maps of `edge` voxels to maps of `target`, 2 * edge or one less."""
    convolution = nn.ConvTranspose3d(
        before, after, 3, stride=2, padding=1, output_padding=target - (2 * edge - 1), bias=last
    )
    return nn.Sequential(convolution, *([] if last else [nn.BatchNorm3d(after), nn.ReLU()]))
