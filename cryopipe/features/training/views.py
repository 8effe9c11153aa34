"""Views of boxes for contrastive learning: two random views of a particle must get similar features.

No view is a mirror image, because proteins are chiral.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cryopipe.features.training.augment import resampled, uniform_rotations
from cryopipe.features.training.distributed import Draws
from cryopipe.simulation.optics import Optics, contrast_transfer, electron_wavelength
from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.fsc import shell_indices
from cryopipe.volume.rotate import source_offsets
from cryopipe.volume.wedge import measured

View = Callable[[Tensor, Tensor, Draws], Tensor]
"""(boxes (m, z, y, x), their indices (m,), random numbers) -> one view of each, mean 0 and standard deviation 1."""
PROBABILITY = 0.5
"""Probability of each optional step of a view (published)."""
_AXES = (-3, -2, -1)
_LARGEST_GAIN = 3.0
"""Largest factor by which amplitudes lost in the interpolation are restored; they are noise beyond that."""


@dataclass(frozen=True)
class PublishedViews:
    """Views of Gupta et al. (2022): a crop that is enlarged, and an affine transform; the wedge moves with the box.

    Attributes
    ----------
    smallest_crop
        Edge of the smallest crop, as a fraction of the box's.
    angle
        Largest rotation about z, degrees.
    shift
        Largest shift along x and along y, as a fraction of the box's edge.
    scale
        Largest change of scale, as a fraction.
    """

    smallest_crop: float = 0.5
    angle: float = 45.0
    shift: float = 0.1
    scale: float = 0.1

    def __call__(self, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        """Return one view of each of `boxes` (m, z, y, x); see `View`."""
        size = boxes.shape[-1]
        crops, places, angles, shifts, scales = self._drawn(draws)
        offsets = source_offsets(boxes.shape[1:], _about_z(angles), size * shifts)
        zoom = crops / (1 + scales)
        places = places * ((1 - crops) * size)[:, None]
        offsets = offsets * zoom.view(-1, 1, 1, 1, 1) + places.view(-1, 1, 1, 1, 3)
        return standardised(resampled(boxes, offsets, boxes.new_zeros(())))

    def _drawn(self, draws: Draws) -> tuple[Tensor, ...]:
        """Return crops (m,), their places (m, 3), angles (m,), shifts (m, 3) and scales (m,), each with a probability."""
        values, (cropped, moved) = draws.uniform(9), (draws.uniform(2) < PROBABILITY).unbind(dim=1)
        crops = torch.where(cropped, self.smallest_crop + (1 - self.smallest_crop) * values[:, 0], 1.0)
        signed = (2 * values - 1) * moved[:, None]
        shifts = self.shift * torch.stack([signed[:, 4], signed[:, 5], torch.zeros_like(signed[:, 5])], dim=1)
        return (
            crops,
            values[:, 6:] - 0.5,
            math.radians(self.angle) * signed[:, 1],
            shifts,
            self.scale * signed[:, 2],
        )


@dataclass(frozen=True)
class UniformViews:
    """Views of the particle in any orientation, as the same tilt series would have imaged it.

    The box is rotated by a uniform random rotation, together with its missing wedge. Then the wedge of its tomogram is
    applied in place, and the coefficients that are measured in the tomogram but were not in the rotated box are
    replaced by noise with the power spectrum of the box. The view therefore has the wedge and the spectrum of the box.

    Attributes
    ----------
    tilt_ranges
        (n, 2) lowest and highest tilt of each box, degrees, on the device, or (n, 3); see
        `cryopipe.volume.wedge.tilt_schemes`.
    box_size
        Voxels.
    noise
        Largest standard deviation of added noise, relative to the box's.
    shift
        Largest shift along each axis, voxels.
    second_wedge
        Largest angle removed from each end of the tilt range, degrees.
    defocus
        Lowest and highest defocus of an additional contrast transfer function, micrometre; empty for none.
    voltage, voxel_size
        Kilovolt and angstrom, for that function.
    """

    tilt_ranges: Tensor
    box_size: int
    noise: float = 0.5
    shift: float = 1.0
    second_wedge: float = 0.0
    defocus: Sequence[float] = ()
    voltage: float = 300.0
    voxel_size: float = 1.0

    def __call__(self, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        """Return one view of each of `boxes` (m, z, y, x); see `View`."""
        shifts = self.shift * (2 * draws.uniform(3) - 1)
        return self.rotated(boxes, indices, uniform_rotations(draws), shifts, draws)

    def rotated(
        self, boxes: Tensor, indices: Tensor, matrices: Tensor, shifts: Tensor, draws: Draws
    ) -> Tensor:
        """Return views with given rotations (m, 3, 3), active on xyz, and shifts (m, 3) x, y, z in voxels."""
        fourier = _Half(self.box_size, boxes.device)
        tilts = [number.to(boxes).view(-1, 1, 1, 1) for number in self.tilt_ranges[indices].unbind(dim=1)]
        wedge = measured(fourier.frequencies, tilts)
        # Row vectors times R are the frequencies in the axes of the box before the rotation.
        rotated = torch.einsum("zyxi,mij->mzyxj", fourier.frequencies, matrices.to(boxes))
        kept = wedge * measured(rotated, tilts)
        power = fourier.shell_means(fourier.transform(boxes).abs().square(), wedge)
        outside = fourier.inverse(fourier.transform(draws.normal(*boxes.shape[1:])) * power.sqrt())
        offsets = source_offsets(boxes.shape[1:], matrices.to(boxes), shifts)
        values = fourier.transform(resampled(boxes, offsets, outside))
        remaining = fourier.shell_means(values.abs().square(), kept)
        values = values * (power / remaining.clamp(min=1e-12)).sqrt().clamp(max=_LARGEST_GAIN)
        lost = wedge * (1 - kept)
        present = fourier.shell_means(values.abs().square(), lost)
        added = lost * (power - present).clamp(min=0)
        transfer = self._transfer(fourier, draws)
        added = transfer.square() * added + (1 - transfer.square()) * power
        added = added + power * (self.noise * draws.uniform()).square().view(-1, 1, 1, 1)
        values = values * transfer + fourier.transform(draws.normal(*boxes.shape[1:])) * added.sqrt()
        return standardised(fourier.inverse(values * self._view_wedge(fourier, tilts, draws)))

    def _view_wedge(self, fourier: _Half, tilts: Sequence[Tensor], draws: Draws) -> Tensor:
        """Return the mask (m, z, y, x) of the view's tilt range, which may be narrower than that of the box."""
        removed = self.second_wedge * draws.uniform(2)
        removed = removed * (draws.uniform(1) < PROBABILITY)
        low, high = (tilts[0] + removed[:, 0].view(-1, 1, 1, 1), tilts[1] - removed[:, 1].view(-1, 1, 1, 1))
        return measured(fourier.frequencies, [low, high, *tilts[2:]])

    def _transfer(self, fourier: _Half, draws: Draws) -> Tensor:
        """Return (m, z, y, x) absolute contrast transfer from the first maximum on; 1 without `defocus`."""
        drawn, applied = draws.uniform(), draws.uniform() < PROBABILITY
        if not self.defocus:
            return torch.ones_like(drawn).view(-1, 1, 1, 1)
        frequency = fourier.frequencies.norm(dim=-1) / self.voxel_size
        low, high = self.defocus[0], self.defocus[-1]
        found = []
        for fraction in drawn.tolist():
            optics = Optics(voltage=self.voltage, defocus=low + (high - low) * fraction)
            phase = math.pi / 2 - math.asin(optics.amplitude_contrast)
            maximum = math.sqrt(phase / (math.pi * electron_wavelength(self.voltage) * 1e4 * optics.defocus))
            found.append(torch.where(frequency > maximum, contrast_transfer(frequency, optics).abs(), 1.0))
        return torch.where(applied.view(-1, 1, 1, 1), torch.stack(found), 1.0)


class _Half:
    """Half of the transform of cubes of real values, with means over shells."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size, half = size, size // 2 + 1
        self.frequencies = frequency_vectors(size, device)[..., :half, :]
        self.shells = shell_indices(size, device)[..., :half]

    def transform(self, volumes: Tensor) -> Tensor:
        """Return coefficients (m, z, y, x) of `volumes`; those of white noise of variance 1 have power 1."""
        return torch.fft.rfftn(volumes, dim=_AXES, norm="ortho")

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return the volumes."""
        return torch.fft.irfftn(coefficients, s=(self.size,) * 3, dim=_AXES, norm="ortho")

    def shell_means(self, values: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean of each shell, at each coefficient of it: (m, z, y, x); 0 in empty shells."""
        shells, count = self.shells.flatten(), int(self.shells.max()) + 1
        weights = weights.expand_as(values)

        def sums(terms: Tensor) -> Tensor:
            return terms.new_zeros(len(terms), count).index_add_(1, shells, terms.flatten(1))

        means = sums(values * weights) / sums(weights).clamp(min=1e-6)
        return means[:, shells].view(values.shape)


def standardised(boxes: Tensor) -> Tensor:
    """Return `boxes` (m, z, y, x) with mean 0 and standard deviation 1 each; a constant box becomes 0."""
    boxes = boxes - boxes.mean(dim=_AXES, keepdim=True)
    return boxes / boxes.square().mean(dim=_AXES, keepdim=True).sqrt().clamp(min=1e-6)


def _about_z(angles: Tensor) -> Tensor:
    """Return rotation matrices (m, 3, 3) about z by `angles` (m,), radians, active on xyz."""
    c, s, zero, one = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles), torch.ones_like(angles)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=1).view(-1, 3, 3)
