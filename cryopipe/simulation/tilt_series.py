"""Single-axis tilt series of a slab and weighted back-projection.

The tilt axis is y. A point (x, z), relative to voxel n // 2, is projected to `u = x cos(tilt) + z sin(tilt)`
of the image, so planes across y are projected independently. Voxels are distributed linearly over a detector
four times finer than the voxels; the result is band-limited and corrected for the attenuation by this
interpolation. Back-projection is the transpose. Both are sums of table rows, limited only by memory bandwidth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from cryopipe.progress import Progress
from cryopipe.simulation.optics import Optics, contrast_transfer

_OVERSAMPLING = 4
_TILTS_AT_ONCE = 8
_COLUMNS_AT_ONCE = 128
_IMAGE_MARGIN = 16
"""Pixels of empty border, so that CTF fringes at one edge do not wrap around to the other."""


@dataclass(frozen=True)
class TiltSeries:
    """Geometry and optics of a tilt series of a slab.

    Attributes
    ----------
    shape_zyx
        Voxels of the slab.
    voxel_size
        Angstrom; also the images' pixel size.
    angles
        (t,) nominal tilts in degrees, used by the reconstruction.
    optics
        Parameters of the microscope; one defocus for all tilts and depths.
    angle_errors
        (t,) degrees; true minus nominal tilts.
    shift_errors
        (t, 2) shifts of the images along u and y, angstrom.
    device
        Device of the computation.
    """

    shape_zyx: tuple[int, int, int]
    voxel_size: float
    angles: NDArray[np.float64]
    optics: Optics
    device: torch.device
    angle_errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    shift_errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def width(self) -> int:
        """Pixels of an image across the tilt axis: the widest projection of the slab, padded against wrap-around."""
        depth, _, width = self.shape_zyx
        tilts = np.radians(self.angles)
        extent = (width * np.abs(np.cos(tilts)) + depth * np.abs(np.sin(tilts))).max()
        return 2 * int(next_fast_len(math.ceil(0.65 * extent) + _IMAGE_MARGIN, real=True))

    @property
    def height(self) -> int:
        """Pixels of an image along the tilt axis."""
        return 2 * int(next_fast_len(math.ceil((self.shape_zyx[1] + _IMAGE_MARGIN) / 2), real=True))

    def project(self, volume: Tensor) -> Tensor:
        """Return the images of a slab: projections along the beam with the contrast transfer function applied.

        Parameters
        ----------
        volume
            (z, y, x).

        Returns
        -------
        (t, u, y) pixels; the tilt axis is at u = width // 2, and plane y of the slab at pixel y.
        """
        depth, rows, width = self.shape_zyx
        columns = volume.permute(0, 2, 1).reshape(depth * width, rows)
        images = torch.zeros(len(self.angles), self.width, self.height, device=self.device)
        counter = Progress(len(self.angles), "tilts", "projecting")
        for index, angle in enumerate(self._true_angles()):
            images[index] = self._image(self._projected(columns, angle), index)
            counter.advance()
        return images

    def white_images(self, generator: torch.Generator) -> Tensor:
        """Return (t, u, y) images of shot noise of variance 1, equal for all tilts."""
        size = (len(self.angles), self.width, self.height)
        return torch.randn(size, generator=generator, device=self.device)

    def weighted_power(self, images: Tensor) -> float:
        """Return the mean variance of images after the ramp, in the part that projects the middle of the slab.

        In this part the beam crosses the whole depth of the slab at every tilt.
        """
        steepest = math.radians(float(np.abs(self.angles).max()))
        reach = max(4, int(0.25 * self.shape_zyx[2] * math.cos(steepest)))
        middle = slice(self.width // 2 - reach, self.width // 2 + reach + 1)
        inside = slice(0, self.shape_zyx[1])
        return float(
            np.mean([float(self._ramped(image)[middle, inside].square().mean()) for image in images])
        )

    def back_project(self, images: Tensor) -> Tensor:
        """Return the weighted back-projection (z, y, x) of images (t, u, y), in the units of the slab."""
        depth, rows, width = self.shape_zyx
        slab = torch.zeros(depth * width, rows, device=self.device)
        counter = Progress(len(self.angles), "tilts", "back-projecting")
        for start in range(0, len(self.angles), _TILTS_AT_ONCE):
            angles = self.angles[start : start + _TILTS_AT_ONCE]
            block = images[start : start + len(angles)]
            fine = torch.cat([self._refined(self._ramped(image)) for image in block])
            index, weight = self._taps(angles)
            for column in range(0, rows, _COLUMNS_AT_ONCE):
                part = slice(column, min(column + _COLUMNS_AT_ONCE, rows))
                table = fine[:, part].contiguous()
                slab[:, part] += F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
            counter.advance(len(angles))
        step = np.radians(np.ptp(self.angles)) / max(len(self.angles) - 1, 1)
        return (slab * float(step)).reshape(depth, width, rows).permute(0, 2, 1).contiguous()

    def _true_angles(self) -> NDArray[np.float64]:
        return self.angles + self.angle_errors if len(self.angle_errors) else self.angles

    def _positions(self, angle: float) -> Tensor:
        """Return (z * x,) position of each column of the slab on the fine detector."""
        depth, _, width = self.shape_zyx
        z = torch.arange(depth, device=self.device, dtype=torch.float64) - depth // 2
        x = torch.arange(width, device=self.device, dtype=torch.float64) - width // 2
        u = x * math.cos(math.radians(angle)) + z[:, None] * math.sin(math.radians(angle))
        return (_OVERSAMPLING * (u + self.width // 2)).reshape(-1)

    def _taps(self, angles: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return (z * x, 2 t) indices of the rows of the stacked fine images next to each column, and their weights."""
        index, weight = [], []
        for number, angle in enumerate(angles):
            position = self._positions(float(angle))
            below = position.floor()
            first = below.long() + number * _OVERSAMPLING * self.width
            upper = (position - below).float()
            index += [first, first + 1]
            weight += [1 - upper, upper]
        return torch.stack(index, dim=1), torch.stack(weight, dim=1)

    def _projected(self, columns: Tensor, angle: float) -> Tensor:
        """Return (4 u, y): sums of the slab's columns, each added to the two nearest pixels of the fine detector."""
        position = self._positions(angle)
        below = position.floor()
        upper = (position - below).float()
        pixel = torch.cat([below.long(), below.long() + 1])
        order = torch.argsort(pixel, stable=True)
        count = torch.bincount(pixel, minlength=_OVERSAMPLING * self.width)
        offsets = torch.cat([count.new_zeros(1), count.cumsum(0)[:-1]])
        column = torch.arange(len(columns), device=self.device).repeat(2)[order]
        weight = torch.cat([1 - upper, upper])[order]
        return F.embedding_bag(column, columns, offsets, per_sample_weights=weight, mode="sum")

    def _image(self, fine: Tensor, index: int) -> Tensor:
        """Band-limit a fine projection to the pixel size and apply the contrast transfer function and the shift."""
        half = self.width // 2 + 1
        transform = torch.fft.rfft(fine, dim=0)[:half] / self._attenuation()[:, None]
        transform = torch.fft.fft(transform, n=self.height, dim=1)
        across = torch.fft.rfftfreq(self.width, self.voxel_size, device=self.device)[:, None]
        along = torch.fft.fftfreq(self.height, self.voxel_size, device=self.device)[None]
        transform = transform * contrast_transfer(torch.hypot(across, along), self.optics)
        if len(self.shift_errors):
            du, dy = (float(value) for value in self.shift_errors[index])
            transform = transform * torch.exp(-2j * math.pi * (across * du + along * dy))
        return torch.fft.irfft(torch.fft.ifft(transform, dim=1), n=self.width, dim=0)

    def _attenuation(self) -> Tensor:
        """Return (u // 2 + 1,) the attenuation by linear interpolation on the fine detector."""
        frequency = torch.fft.rfftfreq(self.width, device=self.device)
        return torch.sinc(frequency / _OVERSAMPLING).square()

    def _ramped(self, image: Tensor) -> Tensor:
        ramp = torch.fft.rfftfreq(self.width, device=self.device)
        return torch.fft.irfft(torch.fft.rfft(image, dim=0) * ramp[:, None], n=self.width, dim=0)

    def _refined(self, image: Tensor) -> Tensor:
        """Return the image on the fine detector, corrected for the attenuation by linear interpolation."""
        transform = torch.fft.rfft(image, dim=0) / self._attenuation()[:, None]
        return _OVERSAMPLING * torch.fft.irfft(transform, n=_OVERSAMPLING * self.width, dim=0)
