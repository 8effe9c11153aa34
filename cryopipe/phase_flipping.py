"""Phases of the contrast transfer function in boxes: the first zero, and flipping beyond it.

A tomogram of a tilt series with one defocus has, at the frequency of each coefficient, the contrast transfer of the tilt
whose central section contains it: it depends on the length of the frequency alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.simulation.optics import Optics, contrast_transfer, electron_wavelength
from cryopipe.volume.fourier import frequency_grid

_SAMPLES = 200_000
_FINEST = 2.0
"""Angstrom; zeros finer than this are not sought."""


def first_zero(optics: Optics) -> float:
    """Return the resolution of the first zero of the contrast transfer function, angstrom; 0 if there is none to 2 A."""
    frequency = torch.linspace(0, 1 / _FINEST, _SAMPLES, dtype=torch.float64)[1:]
    crossed = torch.nonzero(contrast_transfer(frequency, optics).sign().diff())
    return 1 / float(frequency[int(crossed[0]) + 1]) if len(crossed) else 0.0


def flip_phases(boxes: NDArray[np.float32], voxel_size: float, optics: Optics) -> NDArray[np.float32]:
    """Return (n, z, y, x) boxes with the sign of the contrast transfer function removed from every coefficient.

    Parameters
    ----------
    boxes
        Particles bright. Near a face they lack what the transfer function has moved beyond it: cut them with a `margin`.
    voxel_size
        Angstrom.
    optics
        The microscope and the defocus.
    """
    frequency = frequency_grid(boxes.shape[-3:], voxel_size)
    # Protein is bright near the origin, whatever the sign of the defocus.
    transfer = contrast_transfer(frequency, optics)
    signs = torch.where(transfer < 0, -1.0, 1.0)
    transform = torch.fft.fftn(torch.from_numpy(boxes), dim=(-3, -2, -1)) * signs
    return np.ascontiguousarray(torch.fft.ifftn(transform, dim=(-3, -2, -1)).real.float().numpy())


def margin(box_size: int, voxel_size: float, optics: Optics) -> int:
    """Return the voxels to be cut beyond each face: the largest shift by the transfer function, at most half a box."""
    shift = electron_wavelength(optics.voltage) * abs(optics.defocus) * 1e4 / (2 * voxel_size)
    return min(math.ceil(shift / voxel_size), box_size // 2)
