"""Trilinear interpolation of many transforms at the same points, and its adjoint.

All classes are compared with the boxes in the same rotations, so the points and their weights are computed once for all
of them, and a row of memory holds one point of all maps.
"""

from __future__ import annotations

import itertools
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from cryopipe.alignment.fourier_band import OVERSAMPLING, Band

CORNERS = 8
"""Grid points around a point."""


class RotatedPoints:
    """The coefficients of a band in R rotations, as points of the band's fine grid.

    Parameters
    ----------
    band
        K coefficients.
    matrices
        (R, 3, 3) rotations, reference to particle.
    """

    def __init__(self, band: Band, matrices: Tensor) -> None:
        self.band, self.rotations = band, len(matrices)
        points = (band.frequencies @ matrices.to(band.frequencies)).flatten(0, 1) * OVERSAMPLING + band.reach
        base = points.floor()
        upper = points - base
        size = 2 * band.reach + 1
        x, y, z = base.to(torch.int32).unbind(dim=1)
        first = (z * size + y) * size + x
        fractions = (1 - upper, upper)
        corners = list(itertools.product((0, 1), repeat=3))
        self.indices = torch.stack([first + ((k * size + j) * size + i) for k, j, i in corners], dim=1)
        self.weights = torch.stack(
            [fractions[i][:, 0] * fractions[j][:, 1] * fractions[k][:, 2] for k, j, i in corners], dim=1
        )

    def sample(self, grids: Tensor) -> Tensor:
        """Return (C, R, K) complex values of (C, 2, g, g, g) transforms from `Band.reference_grid`."""
        table = grids.flatten(2).flatten(0, 1).T.contiguous()
        sampled = F.embedding_bag(self.indices, table, per_sample_weights=self.weights, mode="sum")
        values = sampled.unflatten(0, (self.rotations, -1)).unflatten(2, (-1, 2))
        return torch.view_as_complex(values.permute(2, 0, 1, 3).contiguous())

    def add(self, values: Tensor, weights: Tensor, sums: Tensor) -> None:
        """Add (C, R, K) complex values and their (C, R, K) weights to (C, 3, g^3) sums, in place."""
        classes = len(values)
        payload = torch.cat([torch.view_as_real(values), weights[..., None]], dim=3)
        rows = payload.permute(1, 2, 0, 3).reshape(-1, 3 * classes)
        order, starts, fractions = self._by_grid_point
        table = F.embedding_bag(order, rows, starts, per_sample_weights=fractions, mode="sum")
        sums += table.T.reshape(sums.shape)

    @cached_property
    def _by_grid_point(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the contributions in order of their grid point: coefficients, first of each grid point, weights."""
        corners = self.indices.flatten().long()
        order = corners.argsort(stable=True)
        counts = torch.bincount(corners, minlength=(2 * self.band.reach + 1) ** 3)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)[:-1]])
        return order // CORNERS, starts, self.weights.flatten()[order]
