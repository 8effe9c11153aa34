"""Transfer functions of a tilt series and its weighted back-projection for the spectrum of a box.

The reconstruction of a point is the sum over tilts of a line along the beam, filtered across it by the
ramp and the contrast transfer function. In a window of N voxels, the transform of a line is a central slice of
thickness 1/N (a sinc profile). The gain of the signal is the sum of the slices' amplitudes. The gain of shot
noise, which is independent between tilts, is the root of the sum of their squares, with a profile without tails,
because the leakage out of a slice is caused by cutting the box, which follows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.simulation.optics import Optics, contrast_transfer

Profile = Callable[[Tensor, float], Tensor]
_SAMPLES_OF_CELL = 3


@dataclass(frozen=True)
class BoxTransfer:
    """Gains on the half spectrum (z, y, x // 2 + 1) of a cubic box, unshifted layout.

    Attributes
    ----------
    signal
        Amplitude gain of the specimen's density, real and signed.
    shot_noise
        Amplitude gain of white noise that gives reconstructed shot noise; its mean power over the full spectrum is 1.
    structural_noise
        The same for noise in the specimen that is imaged with it.
    """

    signal: Tensor
    shot_noise: Tensor
    structural_noise: Tensor

    def noise(self, structural_fraction: float) -> Tensor:
        """Return the gain of noise of variance 1, of which the given fraction is structural."""
        shot = (1 - structural_fraction) * self.shot_noise.square()
        return (shot + structural_fraction * self.structural_noise.square()).sqrt()


def box_transfer(
    box_size: int,
    voxel_size: float,
    angles: NDArray[np.float64],
    optics: Optics,
    thickness: float,
    device: torch.device,
) -> BoxTransfer:
    """Return the gains of a tilt series about y, reconstructed by weighted back-projection.

    Parameters
    ----------
    box_size
        Voxels, even.
    voxel_size
        Angstrom.
    angles
        Tilts in degrees.
    optics
        Parameters of the microscope; the same defocus for every tilt and depth.
    thickness
        Thickness of the specimen, angstrom.
    device
        Device of the result.
    """
    full = torch.fft.fftfreq(box_size, device=device)
    half = torch.fft.rfftfreq(box_size, device=device)
    kz, kx = torch.meshgrid(full, half, indexing="ij")

    def amplitude(profile: Profile, offset_z: float = 0.0, offset_x: float = 0.0) -> Tensor:
        total = torch.zeros(box_size, box_size, half.numel(), device=device)
        for ramp, along, across, tilt in _slices(kz + offset_z, kx + offset_x, angles, box_size):
            frequency = torch.sqrt(across.square()[:, None] + full.square()[None, :, None]) / voxel_size
            total += (ramp * profile(along, tilt))[:, None] * contrast_transfer(frequency, optics)
        return total

    signal = amplitude(lambda along, _: torch.sinc(along * box_size))
    shot = torch.zeros_like(kz)
    for ramp, along, _, _ in _slices(kz, kx, angles, box_size):
        shot += ramp.square() * (1 - along.abs() * box_size).clamp(min=0)
    # Structural noise fills the whole depth of the specimen. Its slices are thinner than the sampling of a box, so
    # the power is averaged over the cell of each coefficient.

    def through_the_slab(along: Tensor, tilt: float) -> Tensor:
        path = thickness / voxel_size / max(math.cos(tilt), 0.05)
        return path * torch.exp(-torch.pi * (along * path).square())

    cells = (np.arange(_SAMPLES_OF_CELL) + 0.5) / _SAMPLES_OF_CELL - 0.5
    structural = torch.zeros_like(signal)
    for offset_z, offset_x in itertools.product((cells / box_size).tolist(), repeat=2):
        structural += amplitude(through_the_slab, offset_z, offset_x).square()
    return BoxTransfer(
        signal=_normalised(signal, box_size),
        shot_noise=_normalised(shot.sqrt()[:, None].expand_as(signal), box_size),
        structural_noise=_normalised(structural.sqrt(), box_size),
    )


def _slices(
    kz: Tensor, kx: Tensor, angles: NDArray[np.float64], box_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
    """Yield for each tilt the ramp, the distances from the slice and, within it, from the axis, and the angle.

    Distances are in cycles per voxel, the angle in radian.
    """
    for angle in np.radians(angles).tolist():
        across = kx * math.cos(angle) + kz * math.sin(angle)
        along = kz * math.cos(angle) - kx * math.sin(angle)
        # A coefficient represents a cell of width 1 / box_size, over which the mean of the ramp is not 0.
        yield across.abs().clamp(min=0.25 / box_size) * (across.abs() <= 0.5), along, across, angle


def _normalised(gain: Tensor, box_size: int) -> Tensor:
    return gain / mean_power(gain, box_size).sqrt()


def mean_power(gain: Tensor, box_size: int) -> Tensor:
    """Return the mean squared gain over the full spectrum, from (..., z, y, x // 2 + 1), without the DC term.

    It is the variance of filtered white noise of variance 1.
    """
    multiplicity = torch.full((gain.shape[-1],), 2.0, device=gain.device)
    multiplicity[0] = 1.0
    if box_size % 2 == 0:
        multiplicity[-1] = 1.0
    total = (gain.square() * multiplicity).sum(dim=(-3, -2, -1)) - gain[..., 0, 0, 0].square()
    return total / box_size**3
