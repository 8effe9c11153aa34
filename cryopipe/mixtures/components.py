"""Principal component analysis of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS = 50_000
"""Number of features that are converted to double precision at a time."""


@dataclass(frozen=True)
class Projection:
    """Projection on principal components: `(features - mean) @ axes`.

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

    There are at most `count`, and at most one per ten particles: fewer particles do not determine a covariance.
    """
    particles, width = features.shape
    dimensions = max(1, min(count, width, particles // 10))
    mean = features.mean(dim=0, dtype=torch.float64)
    covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for part in features.split(_ROWS):
        offsets = part.double() - mean
        covariance += offsets.T @ offsets / max(1, particles - 1)
    variances, axes = torch.linalg.eigh(covariance)
    axes = axes[:, -dimensions:].flip(1)
    # An eigenvector's sign is arbitrary; the largest entry is made positive so that results are reproducible.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    scale = variances[-1].clamp(min=1e-12).sqrt()
    return Projection(
        mean.to(features.dtype), (axes * largest.sign() / scale).to(features.dtype).contiguous()
    )
