"""The boxes of a cluster as band-limited, noise-weighted Fourier coefficients, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.averaging.fourier_band import Band
from cryopipe.boxes import Boxes
from cryopipe.volume.fsc import shell_indices
from cryopipe.volume.wedge import measured, wedge_mask

BATCH_BYTES = 256 * 2**20
"""Memory that the temporary arrays of one batch may take."""

LEAST_TRANSFER = 0.7
"""Amplitude, in relation to its shell's mean, below which a frequency counts as not measured. In a denoised
tomogram, where half the declared range is next to empty, lower limits turned all particles alike."""
POWER_SAMPLE = 300
"""Boxes per tilt scheme that its transfer is estimated from at most."""
PRIOR_BOXES = 20.0
"""How many boxes the assumption that all directions are alike is worth."""


class Spectra:
    """Boxes with their tilt ranges, seen through a band.

    Parameters
    ----------
    boxes
        (n, z, y, x), particles bright; cubes.
    tilt_ranges
        (n, 2) lowest and highest tilt, degrees.
    device
        Where coefficients are computed.
    """

    def __init__(self, boxes: Boxes, tilt_ranges: NDArray[np.float64], device: torch.device) -> None:
        self.boxes, self.device = boxes, device
        ranges = np.asarray(tilt_ranges, dtype=np.float64).reshape(-1, 2)
        if len(ranges) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes but {len(ranges)} tilt ranges")
        self.schemes, which = np.unique(ranges, axis=0, return_inverse=True)
        self.scheme_of_box = torch.from_numpy(which.reshape(-1)).to(device)
        first = self.volumes(np.array([0]))
        self.box_size = int(first.shape[-1])
        if tuple(first.shape) != (1, *(self.box_size,) * 3):
            raise ValueError(f"boxes must be cubes, not {tuple(first.shape[1:])}")

    def __len__(self) -> int:
        return len(self.boxes)

    def volumes(self, indices: NDArray[np.intp]) -> Tensor:
        """Return (m, z, y, x) boxes of mean 0 on the device."""
        boxes = torch.from_numpy(np.ascontiguousarray(self.boxes[indices], dtype=np.float32)).to(self.device)
        return boxes - boxes.mean(dim=(1, 2, 3), keepdim=True)

    def measured(self, band: Band) -> Tensor:
        """Return (schemes, K) 1 where each tilt scheme has measured.

        That is inside its tilt range, where the boxes do hold power: tomograms are filtered and denoised, and
        what then is next to empty would pass for a feature that all particles share.
        """
        wedges = [measured(band.frequencies, (low, high)) for low, high in self.schemes.tolist()]
        return torch.stack(wedges) * (band.picked(self.transfer) > LEAST_TRANSFER)

    def coefficients(self, indices: NDArray[np.intp], band: Band, wedges: Tensor) -> Tensor:
        """Return (m, K) coefficients, 0 where not measured; `wedges` are those of `measured`.

        They are divided by `transfer`, so that no direction counts more than another.
        """
        weights = wedges / band.picked(self.transfer).clamp(min=LEAST_TRANSFER)
        return band.coefficients(self.volumes(indices)) * weights[self.scheme_of_box[indices]]

    @cached_property
    def transfer(self) -> Tensor:
        """How strongly each tilt scheme's tomograms hold a frequency: (schemes, z, y, x // 2 + 1).

        The root of the boxes' mean power in relation to its shell's mean inside the tilt range. Particles lie in
        all orientations, so what differs between directions comes from the tomogram, not from them. Few boxes
        say little about it: the fewer, the closer to 1.
        """
        return torch.stack([self._transfer_of(number) for number in range(len(self.schemes))])

    def _transfer_of(self, number: int) -> Tensor:
        n = self.box_size
        members = np.flatnonzero(self.scheme_of_box.cpu().numpy() == number)
        spaced = np.linspace(0, len(members) - 1, min(len(members), POWER_SAMPLE)).astype(np.intp)
        power = torch.zeros((n, n, n), device=self.device)
        for batch in batches(members[spaced], 40 * n**3):
            power += (torch.fft.fftn(self.volumes(batch), dim=(-3, -2, -1)).abs() ** 2).sum(dim=0)
        low, high = self.schemes[number]
        inside = wedge_mask(n, (float(low), float(high)), self.device)
        shells = shell_indices(n, self.device)
        sums = [torch.bincount(shells.flatten(), weights=v.flatten()) for v in (power * inside, inside)]
        mean = (sums[0] / sums[1].clamp(min=1)).float()[shells]
        relative = torch.where(mean > 0, power / mean.clamp(min=1e-30), torch.ones_like(power))
        smooth = _neighbourhood_sum(relative * inside) / _neighbourhood_sum(inside).clamp(min=1e-6)
        count = len(spaced)
        smooth = (smooth * count + PRIOR_BOXES) / (count + PRIOR_BOXES)
        return smooth.sqrt()[..., : n // 2 + 1]


def _neighbourhood_sum(volume: Tensor) -> Tensor:
    """Sum every (z, y, x) coefficient, twice, with its 6 neighbours, across the transform's borders, too."""
    shifted = [volume.roll(step, axis) for axis in range(3) for step in (1, -1)]
    return 2 * volume + torch.stack(shifted).sum(dim=0)


def batches(indices: NDArray[np.intp], bytes_per_item: int) -> Iterator[NDArray[np.intp]]:
    """Split `indices` so that a batch's arrays stay within the memory set aside for them."""
    size = int(max(1, min(256, BATCH_BYTES // max(1, bytes_per_item))))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
