"""Filtering, shifting and rescaling of volumes in Fourier space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_AXES = (-3, -2, -1)
Shape = int | Sequence[int]


def cubic_shape(box_size: Shape) -> tuple[int, int, int]:
    """Return (z, y, x) from the edge of a cube or from a shape."""
    shape = (box_size,) * 3 if isinstance(box_size, int) else tuple(int(n) for n in box_size)
    if len(shape) != 3:
        raise ValueError(f"a volume has three axes, not {len(shape)}")
    return shape[0], shape[1], shape[2]


def frequency_vectors(
    box_size: Shape, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the frequencies of the unshifted transform: (z, y, x, 3), components x, y, z, cycles per voxel."""
    axes = [torch.fft.fftfreq(n, device=device, dtype=dtype) for n in cubic_shape(box_size)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1)


def frequency_grid(box_size: Shape, voxel_size: float, device: torch.device | str = "cpu") -> Tensor:
    """Return the spatial frequency of every coefficient of the unshifted transform.

    Parameters
    ----------
    box_size
        Edge of a cube, or shape (z, y, x).
    voxel_size
        Angstrom.
    device
        Device of the result.

    Returns
    -------
    (z, y, x) 1/angstrom, 0 at index (0, 0, 0).
    """
    return frequency_vectors(box_size, device).norm(dim=-1) / voxel_size


def low_pass(volume: Tensor, resolution: float, voxel_size: float) -> Tensor:
    """Apply a low-pass filter with a smooth edge at `resolution`.

    Parameters
    ----------
    volume
        (..., z, y, x).
    resolution
        Angstrom; the filter's amplitude is 0.5 there.
    voxel_size
        Angstrom.
    """
    frequency = frequency_grid(volume.shape[-3:], voxel_size, volume.device)
    # Falls from 0.97 to 0.03 within a quarter of the cut-off on either side.
    gain = torch.special.expit((1 - frequency * resolution) * 14)
    transform = torch.fft.fftn(volume, dim=_AXES) * gain
    return torch.fft.ifftn(transform, dim=_AXES).real.to(volume.dtype)


def shift_volumes(volumes: Tensor, shifts_voxels: Tensor) -> Tensor:
    """Shift volumes by fractions of a voxel, with periodic borders.

    Parameters
    ----------
    volumes
        (n, z, y, x).
    shifts_voxels
        (n, 3) displacements x, y, z.
    """
    frequencies = frequency_vectors(volumes.shape[-3:], volumes.device, volumes.dtype)
    phase = -2 * torch.pi * torch.einsum("zyxc,nc->nzyx", frequencies, shifts_voxels.to(frequencies))
    transform = torch.fft.fftn(volumes, dim=_AXES) * torch.polar(torch.ones_like(phase), phase)
    return torch.fft.ifftn(transform, dim=_AXES).real


def fourier_rescale(
    volume: Tensor, voxel_size: float, target_voxel_size: float, target_shape: Shape | None = None
) -> Tensor:
    """Resample a volume at another voxel size, without aliasing and without moving its centre.

    The result samples the volume's trigonometric interpolant, limited to frequencies below both Nyquist
    limits; it is exact for any ratio of voxel sizes. The centre remains at voxel n // 2.

    Parameters
    ----------
    volume
        (..., z, y, x).
    voxel_size, target_voxel_size
        Angstrom.
    target_shape
        Edge or shape of the result; by default the even size nearest to the same extent. Voxels outside
        the volume's extent get its mean.

    Returns
    -------
    (..., z, y, x) of the same type and device.
    """
    shape = tuple(volume.shape[-3:])
    scale = target_voxel_size / voxel_size
    if target_shape is None:
        target_shape = [max(2, 2 * round(n / scale / 2)) for n in shape]
    mean = volume.mean(dim=_AXES, keepdim=True)
    result = volume - mean
    for axis, (n, m) in zip(_AXES, zip(shape, cubic_shape(target_shape), strict=True), strict=True):
        kernel = _sampling_matrix(n, m, scale).to(result)
        result = torch.movedim(torch.movedim(result, axis, -1) @ kernel.T, -1, axis)
    return result + mean


def _sampling_matrix(n: int, m: int, scale: float) -> Tensor:
    """Return (m, n) weights of n voxels in m samples spaced `scale` voxels apart about the centre."""
    position = (torch.arange(m, dtype=torch.float64) - m // 2) * scale + n // 2
    distance = position[:, None] - torch.arange(n, dtype=torch.float64)
    order = torch.arange(n // 2 + 1, dtype=torch.float64)
    amplitude = torch.full_like(order, 2.0)
    amplitude[0] = 1.0
    if n % 2 == 0:
        amplitude[-1] = 1.0
    if scale > 1:
        amplitude[order / n >= 0.5 / scale * (1 - 1e-9)] = 0.0
    waves = torch.cos(2 * torch.pi * distance[..., None] * order / n)
    weights = (waves @ amplitude) / n
    outside = (position < -0.5) | (position > n - 0.5)
    weights[outside] = 0.0
    return weights
