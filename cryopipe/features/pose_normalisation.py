"""Pose normalisation: boxes are centred and rotated by the moments of their density, without a template.

The box is smoothed, and its positive density within the inscribed sphere is regarded as a body. The centre of mass moves
to the centre of the box, and the principal axes are rotated onto its axes, the longest onto z. Principal axes have no
direction; each one points to the side of the positive third moment. Boxes of one structure in any orientation then look
alike, as far as noise and the missing wedge permit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes, BoxView
from cryopipe.features.smoothing import smooth
from cryopipe.volume.masks import radius_grid
from cryopipe.volume.rotate import rotate_volumes

SMOOTHING = 2.0
"""Standard deviation of the Gaussian, voxels, as published."""
_VOXELS_AT_ONCE = 2_000_000


def normalise_poses(boxes: Tensor) -> Tensor:
    """Return boxes with their centre of mass at the box centre and their principal axes along x, y and z.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0, particles bright.

    Returns
    -------
    (n, z, y, x), by linear interpolation; 0 outside the inscribed sphere, so that the corners do not show the
    original orientation. Boxes without density above 0 keep their pose.
    """
    rotations, centres = principal_poses(boxes)
    shifts = -(rotations @ centres[:, :, None])[:, :, 0]
    rotated = rotate_volumes(boxes, rotations, shifts)
    return rotated * _inscribed(boxes)


def principal_poses(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rotations that `normalise_poses` applies, and the centres of mass.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0, particles bright.

    Returns
    -------
    (n, 3, 3) rotations of xyz column vectors from the box to the normalised box, and (n, 3) centres of mass, x, y, z
    in voxels from the box centre.
    """
    weights = (smooth(boxes, SMOOTHING).clamp(min=0) * _inscribed(boxes)).flatten(1).double()
    total = weights.sum(dim=1, keepdim=True)
    weights = weights / total.clamp(min=1e-12)
    axes = [torch.arange(n, device=boxes.device, dtype=torch.float64) - n // 2 for n in boxes.shape[1:]]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1).reshape(-1, 3)
    centres = weights @ points
    products = (points[:, :, None] * points[:, None, :]).flatten(1)
    usable = torch.isfinite(total[:, 0]) & (total[:, 0] > 0)
    covariances = (weights @ products).unflatten(1, (3, 3)) - centres[:, :, None] * centres[:, None, :]
    covariances = torch.where(usable[:, None, None], covariances, torch.eye(3).to(covariances))
    _, vectors = torch.linalg.eigh(covariances)  # columns, in the order of increasing variance
    along = points @ vectors - (centres[:, None, :] @ vectors)  # (n, voxels, 3)
    thirds = (weights[:, :, None] * along**3).sum(dim=1)
    signs = torch.where(thirds < 0, -1.0, 1.0).to(thirds)
    frames = vectors * signs[:, None, :]
    # A left-handed frame would mirror the particle: the axis with the least certain direction is reversed.
    scales = (weights[:, :, None] * along**2).sum(dim=1).clamp(min=1e-12) ** 1.5
    least = (thirds.abs() / scales).argmin(dim=1)
    flips = torch.where(torch.linalg.det(frames) < 0, -1.0, 1.0).to(signs)
    reversals = torch.ones_like(signs).scatter(1, least[:, None], flips[:, None])
    rotations = (frames * reversals[:, None, :]).transpose(1, 2)
    rotations = torch.where(usable[:, None, None], rotations, torch.eye(3).to(rotations))
    return rotations.to(boxes), torch.where(usable[:, None], centres, 0.0).to(boxes)


class NormalisedBoxes(BoxView):
    """Boxes with normalised poses, computed on access, a few at a time.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0, particles bright.
    device
        Device to compute on.
    """

    def __init__(self, boxes: Boxes, device: torch.device) -> None:
        super().__init__(boxes)
        self._device = device

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        """Return the normalised boxes at `indices`, an array or slice: (m, z, y, x)."""
        originals = torch.from_numpy(np.asarray(self._boxes[indices], np.float32))
        at_once = max(1, _VOXELS_AT_ONCE // max(1, int(np.prod(self.shape[1:]))))
        parts = [normalise_poses(part.to(self._device)).cpu() for part in originals.split(at_once)]
        return torch.cat(parts).numpy()


def _inscribed(boxes: Tensor) -> Tensor:
    """Return the inscribed sphere of the boxes as a mask (z, y, x) of ones and zeros."""
    radius = (min(boxes.shape[1:]) - 1) // 2
    return (radius_grid(boxes.shape[1:], boxes.device) <= radius).to(boxes)
