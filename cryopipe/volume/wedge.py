"""The missing wedge: which Fourier coefficients a tilt series measures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cryopipe.tomograms import ABOUT_X
from cryopipe.volume.fourier import Shape, frequency_vectors


def measured(frequencies: Tensor, tilt_range: Sequence[float] | Sequence[Tensor]) -> Tensor:
    """Return which frequencies a tilt series measures.

    Parameters
    ----------
    frequencies
        (..., 3) x, y, z in the tomogram's axes, any unit.
    tilt_range
        Lowest and highest tilt in degrees, about +y, the beam along z, and `cryopipe.tomograms.ABOUT_X` if they are about +x.
        A tilt of t about +y measures the plane that contains y and the direction at the angle t from x towards z; a
        tilt about +x the plane that contains x and the direction at the angle t from -y towards z. Tensors, one number
        per volume, must be broadcastable to (...).

    Returns
    -------
    (...) float: 1 where measured (within the tilt range, and on the tilt axis), else 0.
    """
    low, high = (angle * (math.pi / 180) for angle in tilt_range[:2])
    across, z = frequencies[..., 0], frequencies[..., 2]
    if len(tilt_range) > 2:
        about_x = torch.as_tensor(tilt_range[2] == ABOUT_X, device=frequencies.device)
        across = torch.where(about_x, -frequencies[..., 1], across)
    # Opposite frequencies are equivalent, so angles are modulo 180 degrees.
    angle = torch.atan2(z, across)
    line = torch.remainder(angle - low + 1e-6, math.pi)
    inside = line <= high - low + 2e-6
    on_axis = (across.abs() < 1e-9) & (z.abs() < 1e-9)
    return (inside | on_axis).to(frequencies.dtype)


def tilt_schemes(tilt_ranges: ArrayLike) -> tuple[list[list[float]], NDArray[np.intp]]:
    """Return the different tilt ranges of boxes, each for `measured`, and (n,) which of them each box has.

    Parameters
    ----------
    tilt_ranges
        (n, 2) lowest and highest tilt, degrees, or (n, 3) if the tilt axis is x for some.
    """
    schemes, which = np.unique(
        np.atleast_2d(np.asarray(tilt_ranges, np.float64)), axis=0, return_inverse=True
    )
    return schemes.tolist(), which.reshape(-1)


def wedge_mask(box_size: Shape, tilt_range: Sequence[float], device: torch.device | str = "cpu") -> Tensor:
    """Return a mask of the measured region of Fourier space.

    Parameters
    ----------
    box_size
        Edge of a cube, or shape (z, y, x).
    tilt_range
        See `measured`.
    device
        Device of the result.

    Returns
    -------
    (z, y, x) float, unshifted transform layout, 1 where measured. For a range of +-t about y that is
    `abs(kz) <= abs(kx) * tan(t)` and the tilt axis. Symmetric under inversion, Nyquist planes too.
    """
    mask = measured(frequency_vectors(box_size, device), tilt_range)
    opposite = torch.roll(mask.flip(0, 1, 2), (1, 1, 1), dims=(0, 1, 2))
    return torch.maximum(mask, opposite)


def centred_wedge(box_size: Shape, tilt_range: Sequence[float], device: torch.device | str = "cpu") -> Tensor:
    """Return `wedge_mask` with frequency 0 at voxel n // 2, as RELION expects it for rlnCtfImage."""
    return torch.fft.fftshift(wedge_mask(box_size, tilt_range, device))
