"""Fourier bands: the independent Fourier coefficients of a cube up to a resolution.

A box of 32 voxels has only about seven hundred independent coefficients below a fifth of the Nyquist frequency, so
comparing many rotated and shifted references with many boxes is one matrix product.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

OVERSAMPLING = 2
"""Oversampling of the reference's transform before linear interpolation."""


class Band:
    """The independent Fourier coefficients of a cube up to a shell, without frequency 0.

    Parameters
    ----------
    box_size
        Edge n of the cube, voxels.
    shells
        Highest shell, at most n // 2; only frequencies below Nyquist are included. Shell i has the frequency
        i / (n * voxel size).
    device
        Device of the tensors.

    Attributes
    ----------
    frequencies
        (K, 3) integer x, y, z, as float; one of each pair of opposite frequencies.
    shell
        (K,) nearest shell of every coefficient.
    reach
        Largest index of the oversampled grid along an axis, counted from frequency 0.
    """

    def __init__(self, box_size: int, shells: int, device: torch.device) -> None:
        self.box_size, self.device = box_size, device
        self.shells = max(1, min(shells, box_size // 2))
        k = torch.arange(-self.shells, self.shells + 1, device=device)
        z, y, x = torch.meshgrid(k, k, k, indexing="ij")
        radius = (x * x + y * y + z * z).float().sqrt()
        half = (x > 0) | ((x == 0) & (y > 0)) | ((x == 0) & (y == 0) & (z > 0))
        chosen = half & (radius < min(self.shells + 0.5, box_size / 2))
        zyx = torch.stack([z[chosen], y[chosen], x[chosen]], dim=1)
        self.frequencies = zyx.flip(1).float()
        self.shell = radius[chosen].round().long()
        self.shell_sizes = torch.bincount(self.shell, minlength=self.shells + 1).float()
        wrapped = zyx % box_size
        width = box_size // 2 + 1
        self._index = (wrapped[:, 0] * box_size + wrapped[:, 1]) * width + wrapped[:, 2]
        self._centre_phase = self.shift_phases(torch.full((1, 3), -float(box_size // 2), device=device))[0]
        self.reach = OVERSAMPLING * (self.shells + 1)

    def __len__(self) -> int:
        return len(self.shell)

    def shift_phases(self, shifts_voxels: Tensor) -> Tensor:
        """Return (..., K) phase factors of shifts by (..., 3) voxels x, y, z."""
        angle = (shifts_voxels.to(self.frequencies) @ self.frequencies.T) * (-2 * torch.pi / self.box_size)
        return torch.polar(torch.ones_like(angle), angle)

    def coefficients(self, volumes: Tensor) -> Tensor:
        """Return (n, K) complex coefficients of (n, z, y, x) volumes about their centre."""
        transform = torch.fft.rfftn(volumes.to(self.device, torch.float32), dim=(-3, -2, -1))
        return self.picked(transform) * self._centre_phase

    def picked(self, half_transforms: Tensor) -> Tensor:
        """Return (n, K) values at this band's coefficients of (n, z, y, x // 2 + 1) real transforms."""
        return half_transforms.flatten(1)[:, self._index]

    def volumes(self, coefficients: Tensor) -> Tensor:
        """Return the (n, z, y, x) volumes with these (n, K) coefficients about their centre, 0 outside the band."""
        n, width = self.box_size, self.box_size // 2 + 1
        values = coefficients * self._centre_phase.conj()
        transform = values.new_zeros(len(values), n * n * width)
        transform[:, self._index] = values
        # Of the plane x = 0 the transform contains both of each pair of opposite frequencies.
        flat = self.frequencies[:, 0] == 0
        y, z = (-self.frequencies[flat, 1:].long() % n).unbind(dim=1)
        transform[:, (z * n + y) * width] = values[:, flat].conj()
        return torch.fft.irfftn(transform.unflatten(1, (n, n, width)), s=(n, n, n), dim=(-3, -2, -1))

    def reference_grid(self, volume: Tensor, gradient: bool = False) -> Tensor:
        """Return the oversampled transform of a (z, y, x) reference, for `project` and `project_gradient`.

        Parameters
        ----------
        volume
            The reference.
        gradient
            Whether to add its derivatives along the frequencies x, y, z.

        Returns
        -------
        (2, g, g, g) real and imaginary part, or (8, g, g, g).
        """
        smooth = volume.to(self.device, torch.float32) / self._interpolation_envelope()
        parts = [self._fine_transform(smooth)]
        if gradient:
            axis = torch.arange(self.box_size, device=self.device) - self.box_size // 2
            z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
            # The derivative of a transform is the transform of the map times its coordinate.
            factor = -2j * torch.pi / self.box_size
            parts += [self._fine_transform(smooth * coordinate) * factor for coordinate in (x, y, z)]
        return torch.view_as_real(torch.stack(parts)).permute(0, 4, 1, 2, 3).flatten(0, 1).contiguous()

    def project(self, grid: Tensor, matrices: Tensor) -> Tensor:
        """Return the coefficients of the reference rotated by (n, 3, 3) active rotations: (n, K)."""
        sampled = self._sample(grid[:2], matrices)
        return torch.complex(sampled[:, 0], sampled[:, 1])

    def project_gradient(self, grid: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients of `project` and their derivatives by a further rotation.

        Returns
        -------
        (n, K) coefficients, and (n, 3, K) derivatives by a rotation about the particle's axes x, y, z, per
        radian.
        """
        sampled = self._sample(grid, matrices).unflatten(1, (4, 2))
        values = torch.complex(sampled[:, :, 0], sampled[:, :, 1])
        slope = matrices.to(values) @ values[:, 1:]
        # A rotation by w moves the point sampled for k by R^-1 (k x w).
        k = self.frequencies.T
        derivatives = [
            slope[:, (i + 1) % 3] * k[(i + 2) % 3] - slope[:, (i + 2) % 3] * k[(i + 1) % 3] for i in range(3)
        ]
        return values[:, 0], torch.stack(derivatives, dim=1)

    def _fine_transform(self, volume: Tensor) -> Tensor:
        """Return the (g, g, g) oversampled transform about frequency 0."""
        n, fine = self.box_size, OVERSAMPLING * self.box_size
        start = fine // 2 - n // 2
        transform = torch.fft.fftn(F.pad(volume, (start, fine - n - start) * 3))
        at, sign = self._fine_indices()
        return transform[at[:, None, None], at[:, None], at] * sign

    def _fine_indices(self) -> tuple[Tensor, Tensor]:
        """Return (g,) indices of the kept frequencies in the padded transform, and (g, g, g) signs.

        The signs move the origin from voxel 0 to the centre of the padded box, whose size is even. They are 0 for
        frequencies outside the padded transform.
        """
        fine = OVERSAMPLING * self.box_size
        k = torch.arange(-self.reach, self.reach + 1, device=self.device)
        line = (1 - 2 * (k % 2)).float() * (k.abs() < fine // 2)
        return k % fine, line[:, None, None] * line[:, None] * line

    def _sample(self, grid: Tensor, matrices: Tensor) -> Tensor:
        """Return (n, channels, K) values of the fine grid for the rotated reference's coefficients."""
        # The rotated reference's coefficient at k is the reference's at R^-1 k.
        points = self.frequencies @ matrices.to(self.frequencies)
        points = points * (OVERSAMPLING / self.reach)
        grids = grid.expand(len(points), *grid.shape)
        return F.grid_sample(grids, points[:, None, None], mode="bilinear", align_corners=True)[:, :, 0, 0]

    def interpolation_sums(self, values: Tensor, weights: Tensor, matrices: Tensor, sums: Tensor) -> None:
        """Rotate measured coefficients back to the reference's axes and add them to the fine grid.

        Parameters
        ----------
        values
            (n, K) complex, already shifted back, and zero where not measured.
        weights
            (n, K), 1 where measured.
        matrices
            (n, 3, 3) rotations, reference to particle.
        sums
            (3, g^3) real part, imaginary part and weight; changed in place.
        """
        # (n, 3, K), so that x, y and z are each contiguous in memory.
        points = (
            matrices.to(self.frequencies).transpose(1, 2) @ self.frequencies.T * OVERSAMPLING + self.reach
        )
        base = points.floor()
        upper = points - base
        fractions = (1 - upper, upper)
        size = 2 * self.reach + 1
        x, y, z = base.long().unbind(dim=1)
        first = (z * size + y) * size + x
        payload = (values.real, values.imag, weights)
        for k, j, i in itertools.product((0, 1), repeat=3):
            fraction = fractions[i][:, 0] * fractions[j][:, 1] * fractions[k][:, 2]
            index = first + ((k * size + j) * size + i)
            for total, part in zip(sums, payload, strict=True):
                total.index_add_(0, index.reshape(-1), (part * fraction).reshape(-1))

    def empty_sums(self) -> Tensor:
        """Return zeros for `interpolation_sums`."""
        return torch.zeros(3, (2 * self.reach + 1) ** 3, device=self.device)

    def volume_from_sums(self, sums: Tensor, noise_to_signal: Tensor) -> Tensor:
        """Return the (z, y, x) volume of the summed coefficients divided by the summed weights.

        Parameters
        ----------
        sums
            From `interpolation_sums`.
        noise_to_signal
            (shells + 1,) 1 / signal-to-noise ratio of the average in each shell; added to the weights as a
            multiple of their mean in the shell.
        """
        size = 2 * self.reach + 1
        grid = sums.reshape(3, size, size, size)
        # Opposite frequencies have conjugate values; each pair was summed on one side only.
        real, imaginary, weight = grid + grid.flip(1, 2, 3) * sums.new_tensor([1, -1, 1])[:, None, None, None]
        axis = (torch.arange(size, device=self.device) - self.reach) / OVERSAMPLING
        radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
        shell = radius.round().long().clamp(max=self.shells)
        mean = torch.zeros(self.shells + 1, device=self.device)
        mean.index_add_(0, shell.flatten(), weight.flatten())
        mean = mean / torch.bincount(shell.flatten(), minlength=self.shells + 1)
        prior = (noise_to_signal.to(mean) + 1e-3) * mean + 1e-6
        transform = torch.complex(real, imaginary) / (weight + prior[shell])
        transform = torch.where(radius < self.shells + 0.5, transform, torch.zeros_like(transform))
        return self._crop_to_volume(transform)

    def _crop_to_volume(self, transform: Tensor) -> Tensor:
        n, fine = self.box_size, OVERSAMPLING * self.box_size
        padded = torch.zeros((fine,) * 3, dtype=transform.dtype, device=self.device)
        at, sign = self._fine_indices()
        padded.index_put_((at[:, None, None], at[:, None], at), transform * sign, accumulate=True)
        start = fine // 2 - n // 2
        inner = slice(start, start + n)
        return torch.fft.ifftn(padded).real[inner, inner, inner] / self._interpolation_envelope()

    def _interpolation_envelope(self) -> Tensor:
        """Return the (z, y, x) factor by which linear interpolation in Fourier space attenuates a volume."""
        n = self.box_size
        x = (torch.arange(n, device=self.device) - n // 2) / (OVERSAMPLING * n)
        line = torch.sinc(x) ** 2
        return line[:, None, None] * line[None, :, None] * line[None, None, :]
