"""Spectra by which boxes made on the fly and boxes cut from tomograms are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_PLANE = (0.2, 0.48)
"""Cycles per voxel, across the tilt axis: the ring in which the wedge's profile is measured."""
_NEAR_AXIS = 0.2
"""Cycles per voxel; the profile takes planes up to this distance from the origin along the tilt axis."""
_BIN = 5.0


def mean_power(boxes: NDArray[np.float32]) -> FloatArray:
    """Return the mean power spectrum (z, y, x), unshifted, of boxes (n, z, y, x) under a Hann window."""
    size = boxes.shape[-1]
    window = np.hanning(size + 1)[:-1]
    centred = boxes - boxes.mean(axis=(1, 2, 3), keepdims=True)
    transform = np.fft.fftn(centred * window[:, None, None] * window[:, None] * window, axes=(1, 2, 3))
    return np.asarray(np.square(np.abs(transform)).mean(axis=0), dtype=np.float64)


def radial_power(boxes: NDArray[np.float32]) -> FloatArray:
    """Return the mean power of boxes (n, z, y, x) by Fourier shell, from 0 to half the box size."""
    size = boxes.shape[-1]
    k = np.fft.fftfreq(size) * size
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()
    power = mean_power(boxes).ravel()
    return np.asarray((np.bincount(shell, power) / np.bincount(shell))[: size // 2 + 1])


def wedge_profile(boxes: NDArray[np.float32]) -> FloatArray:
    """Return the mean power of boxes (n, z, y, x) by angle from the x axis towards z, in 18 steps of 5 degrees."""
    k = np.fft.fftfreq(boxes.shape[-1])
    kz, ky, kx = np.meshgrid(k, k, k, indexing="ij")
    across = np.hypot(kx, kz)
    ring = (across > _PLANE[0]) & (across < _PLANE[1]) & (np.abs(ky) < _NEAR_AXIS)
    angle = np.degrees(np.arctan2(np.abs(kz), np.abs(kx)))[ring]
    step = np.minimum(angle / _BIN, 90 / _BIN - 1).astype(int)
    power = mean_power(boxes)[ring]
    return np.asarray(np.bincount(step, power) / np.bincount(step))
