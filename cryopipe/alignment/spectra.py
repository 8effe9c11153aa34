"""Band-limited Fourier coefficients of boxes with their tilt ranges, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.boxes import Boxes
from cryopipe.volume.fsc import shell_indices
from cryopipe.volume.wedge import measured, tilt_schemes, wedge_mask

BATCH_BYTES = 256 * 2**20
"""Largest memory of one batch's temporary arrays."""

LEAST_TRANSFER = 0.7
"""Amplitude, relative to its shell's mean, below which a frequency counts as not measured. In a denoised tomogram,
where half of the declared tilt range is nearly empty, lower limits gave all particles the same orientation."""
POWER_SAMPLE = 300
"""Largest number of boxes per tilt scheme in the estimate of its transfer."""
PRIOR_BOXES = 20.0
"""Weight, in boxes, of the prior assumption that the transfer is isotropic."""


class Spectra:
    """Fourier coefficients of boxes with their tilt ranges.

    Parameters
    ----------
    boxes
        (n, z, y, x), particles bright; cubes.
    tilt_ranges
        (n, 2) lowest and highest tilt, degrees, or (n, 3); see `cryopipe.volume.wedge.tilt_schemes`.
    device
        Where coefficients are computed.
    """

    def __init__(self, boxes: Boxes, tilt_ranges: NDArray[np.float64], device: torch.device) -> None:
        self.boxes, self.device = boxes, device
        self.schemes, which = tilt_schemes(tilt_ranges)
        if len(which) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes but {len(which)} tilt ranges")
        self.scheme_of_box = torch.from_numpy(which).to(device)
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

        A coefficient counts as measured if it lies inside the tilt range and the boxes have power there.
        Filters and denoising can empty part of the tilt range, which would otherwise look like a feature common to
        all particles.
        """
        wedges = [measured(band.frequencies, scheme) for scheme in self.schemes]
        return torch.stack(wedges) * (band.picked(self.transfer) > LEAST_TRANSFER)

    def coefficients(self, indices: NDArray[np.intp], band: Band, wedges: Tensor) -> Tensor:
        """Return (m, K) coefficients, 0 where not measured; `wedges` is the result of `measured`.

        They are divided by `transfer`, so that all directions have the same weight.
        """
        weights = wedges / band.picked(self.transfer).clamp(min=LEAST_TRANSFER)
        return band.coefficients(self.volumes(indices)) * weights[self.scheme_of_box[indices]]

    @cached_property
    def transfer(self) -> Tensor:
        """Anisotropic amplitude transfer of each tilt scheme's tomograms: (schemes, z, y, x // 2 + 1).

        It is the square root of the boxes' mean power relative to its shell's mean inside the tilt range.
        Particles have all orientations, so differences between directions come from the tomogram, not from the
        particles. The estimate is drawn towards 1 the more, the fewer boxes there are.
        """
        return torch.stack([self._transfer_of(number) for number in range(len(self.schemes))])

    def _transfer_of(self, number: int) -> Tensor:
        n = self.box_size
        members = np.flatnonzero(self.scheme_of_box.cpu().numpy() == number)
        spaced = np.linspace(0, len(members) - 1, min(len(members), POWER_SAMPLE)).astype(np.intp)
        power = torch.zeros((n, n, n), device=self.device)
        for batch in batches(members[spaced], 40 * n**3):
            power += (torch.fft.fftn(self.volumes(batch), dim=(-3, -2, -1)).abs() ** 2).sum(dim=0)
        inside = wedge_mask(n, self.schemes[number], self.device)
        shells = shell_indices(n, self.device)
        sums = [torch.bincount(shells.flatten(), weights=v.flatten()) for v in (power * inside, inside)]
        mean = (sums[0] / sums[1].clamp(min=1)).float()[shells]
        relative = torch.where(mean > 0, power / mean.clamp(min=1e-30), torch.ones_like(power))
        smooth = _neighbourhood_sum(relative * inside) / _neighbourhood_sum(inside).clamp(min=1e-6)
        count = len(spaced)
        smooth = (smooth * count + PRIOR_BOXES) / (count + PRIOR_BOXES)
        return smooth.sqrt()[..., : n // 2 + 1]


def _neighbourhood_sum(volume: Tensor) -> Tensor:
    """Return twice each (z, y, x) coefficient plus its 6 neighbours, with periodic borders."""
    shifted = [volume.roll(step, axis) for axis in range(3) for step in (1, -1)]
    return 2 * volume + torch.stack(shifted).sum(dim=0)


def noise_from_power(coefficients: Tensor, measured: Tensor, band: Band) -> Tensor:
    """Return (K,) standard deviations: each shell's root mean square over the measured coefficients."""
    sums = torch.zeros(2, band.shells + 1, device=band.device)
    sums[0].index_add_(0, band.shell, (coefficients.abs() ** 2).sum(dim=0))
    sums[1].index_add_(0, band.shell, measured.sum(dim=0))
    deviation = (sums[0] / sums[1].clamp(min=1)).sqrt()
    return deviation.clamp(min=1e-6 * float(deviation.max()) + 1e-12)[band.shell]


def batches(indices: NDArray[np.intp], bytes_per_item: int) -> Iterator[NDArray[np.intp]]:
    """Split `indices` into batches whose arrays fit into `BATCH_BYTES`."""
    size = int(max(1, min(256, BATCH_BYTES // max(1, bytes_per_item))))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
