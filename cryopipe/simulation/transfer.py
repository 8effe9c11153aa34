"""What a tilt series and its weighted back-projection do to the spectrum of a box.

The reconstruction of a point is the sum over tilts of a line along the beam, filtered across it by the
ramp and the contrast transfer function. Seen through a window of N voxels, a line is a central slice of
Fourier space of thickness 1/N (a sinc profile). The signal passes through the sum of the slices'
amplitudes; shot noise, independent from tilt to tilt, through the root of the sum of their squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.simulation.optics import Optics, contrast_transfer


@dataclass(frozen=True)
class BoxTransfer:
    """Gains on the half spectrum (z, y, x // 2 + 1) of a cubic box, unshifted layout.

    Attributes
    ----------
    signal
        Amplitude gain of the specimen's density, real and signed.
    shot_noise
        Amplitude gain of white noise, as shot noise comes out; its mean power over the full spectrum is 1.
    structural_noise
        The same for noise that lies in the specimen and is imaged with it.
    """

    signal: Tensor
    shot_noise: Tensor
    structural_noise: Tensor

    def noise(self, structural_fraction: float) -> Tensor:
        """Return the gain of noise of variance 1, of which the given fraction is structural."""
        shot = (1 - structural_fraction) * self.shot_noise.square()
        return (shot + structural_fraction * self.structural_noise.square()).sqrt()


def box_transfer(
    box_size: int, voxel_size: float, angles: NDArray[np.float64], optics: Optics, device: torch.device
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
        The microscope; the same defocus for every tilt and depth.
    device
        Where the result lies.
    """
    full = torch.fft.fftfreq(box_size, device=device)
    half = torch.fft.rfftfreq(box_size, device=device)
    kz, kx = torch.meshgrid(full, half, indexing="ij")
    signal = torch.zeros(box_size, box_size, half.numel(), device=device)
    power = torch.zeros_like(kz)
    for angle in np.radians(angles).tolist():
        across = kx * np.cos(angle) + kz * np.sin(angle)
        along = kz * np.cos(angle) - kx * np.sin(angle)
        # A coefficient stands for a cell of width 1 / box_size, over which the ramp does not average to 0.
        ramp = across.abs().clamp(min=0.25 / box_size) * (across.abs() <= 0.5)
        weight = ramp * torch.sinc(along * box_size)
        frequency = torch.sqrt(across.square()[:, None] + full.square()[None, :, None]) / voxel_size
        signal += weight[:, None] * contrast_transfer(frequency, optics)
        power += weight.square()
    shot = power.sqrt()[:, None].expand_as(signal)
    structural = signal.abs()
    return BoxTransfer(
        signal=signal / mean_power(signal, box_size).sqrt(),
        shot_noise=shot / mean_power(shot, box_size).sqrt(),
        structural_noise=structural / mean_power(structural, box_size).sqrt(),
    )


def mean_power(gain: Tensor, box_size: int) -> Tensor:
    """Return the mean squared gain over the full spectrum, from (..., z, y, x // 2 + 1); the DC term counts 0.

    It is the variance that white noise of variance 1 has after the gain.
    """
    multiplicity = torch.full((gain.shape[-1],), 2.0, device=gain.device)
    multiplicity[0] = 1.0
    if box_size % 2 == 0:
        multiplicity[-1] = 1.0
    total = (gain.square() * multiplicity).sum(dim=(-3, -2, -1)) - gain[..., 0, 0, 0].square()
    return total / box_size**3
