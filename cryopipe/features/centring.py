"""Centring of particles in their boxes on their common radial profile, without a template.

Picking detects blobs, so hollow or crowded particles are picked beside their centres, or twice. The radial profile of
the mean box is used as a reference: each box is shifted to its most probable position, the profile is recomputed from
the shifted boxes, and this is repeated. The probability combines the fit to the profile, in units of the noise, with the
usual distance of picks from their particles: in noisy boxes the profile fits somewhere by chance, and the pick is the
better estimate. Nothing is rotated, so centring takes a few Fourier transforms per box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes
from cryopipe.progress import Progress
from cryopipe.volume.masks import radial_profile, radius_grid

PROFILE_BOXES = 2000
"""The profile is computed from at most this many boxes."""
PROFILE_BYTES = 10**9
"""Memory limit of these boxes, their transforms and correlations; it reduces the number of large boxes."""
ITERATIONS = 4
CLIP = 4.0
"""Values beyond this many standard deviations (gold, ice) are clipped."""
SHIFT_LIMIT = 6
"""The largest shift is the edge of the boxes divided by this."""
PROFILE_RADIUS = 4
"""The radius of the profile is the edge of the boxes divided by this."""
EXPECTED_SHIFT = 1 / 32
"""Standard deviation of picks about their particles' centres along each axis, as a fraction of the boxes' edge."""
_AXES = (-3, -2, -1)
_BATCH = 256


@dataclass(frozen=True)
class Centring:
    """Positions of the particles in their boxes.

    Attributes
    ----------
    shifts_voxels
        (n, 3) x, y, z: the particle's centre is at voxel box_size // 2 plus this.
    scores
        (n,) covariance with the common profile at that position, divided by the profile's norm; higher is better.
    """

    shifts_voxels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def none(cls, count: int) -> Centring:
        """Return shifts and scores of 0 for `count` particles."""
        return cls(np.zeros((count, 3), np.int64), np.zeros(count, np.float32))


def find_centres(
    boxes: Boxes, device: torch.device, seed: int, labels: NDArray[np.int64] | None = None
) -> Centring:
    """Find the centre of every particle.

    Different species have different profiles; with `labels`, each class is centred separately.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0 and standard deviation 1 each, particles bright.
    device
        Device to compute on.
    seed
        Seed of the choice of boxes for the profile if there are more than are used.
    labels
        (n,) integers; None treats all particles as one class.

    Returns
    -------
    Shifts and scores.
    """
    centring = Centring.none(len(boxes))
    classes = np.zeros(len(boxes), int) if labels is None else labels
    limit = max(1, min(PROFILE_BOXES, PROFILE_BYTES // (12 * int(np.prod(boxes.shape[1:])))))
    progress = Progress(len(boxes), "boxes", "centring")
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        chosen = np.sort(np.random.default_rng(seed).permutation(members)[:limit])
        profile = _common_profile(torch.from_numpy(boxes[chosen]).to(device))
        for start in range(0, len(members), _BATCH):
            part = members[start : start + _BATCH]
            batch = torch.from_numpy(np.asarray(boxes[part], np.float32)).to(device)
            shifts, scores = _best_shifts(torch.fft.rfftn(batch.clamp(-CLIP, CLIP), dim=_AXES), profile)
            centring.shifts_voxels[part] = shifts.flip(1).cpu().numpy()
            centring.scores[part] = scores.cpu().numpy()
            progress.advance(len(part))
    return centring


@dataclass(frozen=True)
class _Profile:
    """Radial profile that boxes are compared with.

    `kernel` is the conjugate transform of the profile, scaled to norm 1. `weight` converts correlations with it to
    log-likelihoods: the profile's norm divided by the variance of these correlations.
    """

    kernel: Tensor
    weight: float


def _common_profile(boxes: Tensor) -> _Profile:
    """Return the common radial profile of `boxes` (n, z, y, x)."""
    size = boxes.shape[-1]
    transforms = torch.fft.rfftn(boxes.clamp(-CLIP, CLIP), dim=_AXES)
    shifts = torch.zeros(len(boxes), 3, dtype=torch.long, device=boxes.device)
    profile = _Profile(torch.zeros_like(transforms[0]), 0.0)
    for _ in range(ITERATIONS):
        volume = _radial_volume(_shifted_mean(transforms, shifts, size))
        length = float(volume.norm().clamp(min=1e-12))
        kernel = torch.fft.rfftn(volume / length).conj()
        correlation = torch.fft.irfftn(transforms * kernel, s=(size,) * 3, dim=_AXES)
        profile = _Profile(kernel, length / max(float(correlation.var()), 1e-12))
        shifts, _ = _best_shifts(transforms, profile)
    return profile


def _shifted_mean(transforms: Tensor, shifts: Tensor, size: int) -> Tensor:
    """Return the mean (z, y, x) of boxes given by their transforms, shifted back by `shifts` (n, 3) z, y, x."""
    frequencies = [torch.fft.fftfreq(size), torch.fft.fftfreq(size), torch.fft.rfftfreq(size)]
    phases = [
        torch.exp(2j * torch.pi * shifts[:, axis, None] * frequency.to(shifts.device))
        for axis, frequency in enumerate(frequencies)
    ]
    mean = torch.einsum("nzyx,nz,ny,nx->zyx", transforms, *phases) / len(transforms)
    return torch.fft.irfftn(mean, s=(size,) * 3)


def _radial_volume(mean: Tensor) -> Tensor:
    """Return the radial profile of the mean as a volume within a sphere; its sum is 0."""
    size = mean.shape[-1]
    radius = radius_grid(mean.shape, mean.device)
    outermost = size // PROFILE_RADIUS
    profile = radial_profile(mean)[: outermost + 2].to(mean.dtype)
    inner = radius.floor().long().clamp(max=outermost)
    fraction = (radius - inner).clamp(0, 1)
    volume = profile[inner] * (1 - fraction) + profile[inner + 1] * fraction
    ball = radius <= outermost
    return torch.where(ball, volume - volume[ball].mean(), 0.0)


def _best_shifts(transforms: Tensor, profile: _Profile) -> tuple[Tensor, Tensor]:
    """Return the most probable shifts (n, 3) z, y, x within the limit, and the correlations there (n,)."""
    size = transforms.shape[-3]
    limit = size // SHIFT_LIMIT
    correlation = torch.fft.irfftn(transforms * profile.kernel, s=(size,) * 3, dim=_AXES)
    axis = torch.arange(-limit, limit + 1, device=transforms.device)
    # Shift 0 is at index 0 of the correlation; negative shifts are at its end.
    near = correlation[:, axis][:, :, axis][:, :, :, axis].flatten(1)
    z, y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, axis, indexing="ij"))
    square = (z.square() + y.square() + x.square()).float()
    prior = (-0.5 * square / (EXPECTED_SHIFT * size) ** 2).masked_fill(square > limit**2, -torch.inf)
    best = (profile.weight * near + prior).argmax(dim=1)
    return torch.stack([z[best], y[best], x[best]], dim=1), near.gather(1, best[:, None])[:, 0]
