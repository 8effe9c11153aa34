"""The missing wedge: which Fourier coefficients a tilt series about y measures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cryopipe.volume.fourier import Shape, frequency_vectors


def measured(frequencies: Tensor, tilt_range: tuple[float, float] | tuple[Tensor, Tensor]) -> Tensor:
    """Return which frequencies a tilt series measures.

    Parameters
    ----------
    frequencies
        (..., 3) x, y, z in the tomogram's axes, any unit.
    tilt_range
        Lowest and highest tilt in degrees, about +y, the beam along z. A tilt of t measures the plane
        that contains y and the direction at the angle t from x towards z. Tensors, one angle per volume, must be
        broadcastable to (...).

    Returns
    -------
    (...) float: 1 where measured (within the tilt range, and on the tilt axis), else 0.
    """
    low, high = (angle * (math.pi / 180) for angle in tilt_range)
    x, z = frequencies[..., 0], frequencies[..., 2]
    # Opposite frequencies are equivalent, so angles are modulo 180 degrees.
    angle = torch.atan2(z, x)
    line = torch.remainder(angle - low + 1e-6, math.pi)
    inside = line <= high - low + 2e-6
    on_axis = (x.abs() < 1e-9) & (z.abs() < 1e-9)
    return (inside | on_axis).to(frequencies.dtype)


def wedge_mask(
    box_size: Shape, tilt_range: tuple[float, float], device: torch.device | str = "cpu"
) -> Tensor:
    """Return a mask of the measured region of Fourier space.

    Parameters
    ----------
    box_size
        Edge of a cube, or shape (z, y, x).
    tilt_range
        Lowest and highest tilt in degrees.
    device
        Device of the result.

    Returns
    -------
    (z, y, x) float, unshifted transform layout, 1 where measured. For a range of +-t that is
    `abs(kz) <= abs(kx) * tan(t)` and the tilt axis. Symmetric under inversion, Nyquist planes too.
    """
    mask = measured(frequency_vectors(box_size, device), tilt_range)
    opposite = torch.roll(mask.flip(0, 1, 2), (1, 1, 1), dims=(0, 1, 2))
    return torch.maximum(mask, opposite)


def centred_wedge(
    box_size: Shape, tilt_range: tuple[float, float], device: torch.device | str = "cpu"
) -> Tensor:
    """Return `wedge_mask` with frequency 0 at voxel n // 2, as RELION expects it for rlnCtfImage."""
    return torch.fft.fftshift(wedge_mask(box_size, tilt_range, device))
