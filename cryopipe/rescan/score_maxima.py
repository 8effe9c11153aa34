"""Maxima of the scores of a search: places, sharpness, rotations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.rescan.correlation import Scores

MOST = 20_000
"""Largest number of maxima kept in a block."""


@dataclass(frozen=True)
class Candidates:
    """Maxima of the scores.

    Attributes
    ----------
    positions
        (n, 3) z, y, x, search voxels.
    scores
        (n,) correlation coefficients.
    sharpness
        (n,) heights above the opened score map.
    rotations
        (n,) indices of the rotations.
    """

    positions: NDArray[np.float64]
    scores: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    rotations: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        """Return the chosen candidates."""
        return Candidates(
            self.positions[chosen], self.scores[chosen], self.sharpness[chosen], self.rotations[chosen]
        )


def gather(found: list[Candidates]) -> Candidates:
    """Return candidates of several blocks as one set."""
    if not found:
        return Candidates(np.zeros((0, 3)), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    return Candidates(
        np.concatenate([one.positions for one in found]),
        np.concatenate([one.scores for one in found]),
        np.concatenate([one.sharpness for one in found]),
        np.concatenate([one.rotations for one in found]),
    )


def border_for(reach: int) -> int:
    """Return the voxels around a block's core whose scores `find_maxima` needs, for a tophat of `reach` voxels."""
    return 2 * reach + 1


def find_maxima(scores: Scores, start: tuple[int, int, int], reach: int) -> tuple[Candidates, Candidates]:
    """Return the maxima of a block's scores, and those of the tomogram with inverted contrast.

    Parameters
    ----------
    scores
        Of the core and of `border_for(reach)` voxels on every side.
    start
        First voxel of the core, z, y, x.
    reach
        Half-width of the tophat's window, search voxels: what is wider than the window is not a particle's peak.
    """
    border = border_for(reach)
    return (
        _maxima(scores.best, scores.rotation, scores.known, start, reach, border),
        _maxima(scores.inverted, torch.zeros_like(scores.rotation), scores.known, start, reach, border),
    )


def _maxima(
    height: Tensor, rotation: Tensor, known: Tensor, start: tuple[int, int, int], reach: int, border: int
) -> Candidates:
    opened = _dilated(-_dilated(-height, reach), reach)
    peak = (height == _dilated(height, 1)) & known & (height > 0)
    core = tuple(slice(border, n - border) for n in height.shape)
    at = torch.nonzero(peak[core]) + border
    z, y, x = at.T
    if len(at) > MOST:
        at = at[height[z, y, x].argsort(descending=True, stable=True)[:MOST]]
        z, y, x = at.T
    offsets = torch.stack([_vertex(height, at, axis) for axis in range(3)], dim=1)
    positions = (at + offsets).cpu().numpy().astype(np.float64) - border + np.array(start)
    values = (height[z, y, x], (height - opened)[z, y, x])
    tops, sharp = (one.cpu().numpy().astype(np.float64) for one in values)
    return Candidates(positions, tops, sharp, rotation[z, y, x].cpu().numpy().astype(np.int64))


def _dilated(volume: Tensor, reach: int) -> Tensor:
    width = 2 * reach + 1
    return F.max_pool3d(volume[None, None], width, stride=1, padding=reach)[0, 0]


def _vertex(height: Tensor, at: Tensor, axis: int) -> Tensor:
    """Return where the parabola through a maximum and its neighbours along an axis has its top, -0.5 to 0.5 voxels."""
    step = torch.zeros(3, dtype=torch.long, device=at.device)
    step[axis] = 1
    below, here, above = (height[tuple((at + number * step).T)] for number in (-1, 0, 1))
    curvature = below + above - 2 * here
    return torch.where(
        curvature < 0, (below - above) / (2 * curvature.clamp(max=-1e-12)), torch.zeros_like(here)
    ).clamp(-0.5, 0.5)
