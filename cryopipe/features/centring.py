"""Particles brought to the centre of their boxes, without a template.

A picking filter answers to a blob. Hollow or crowded particles are found beside their centres, or twice. But what is
common to all boxes tells where the centre is: the boxes' mean, averaged over all directions, is a radial profile; each
box is shifted to where it most probably lies, the mean is made anew from the shifted boxes, and so on. The probability
weighs the fit to the profile, in units of the noise, against how far picks usually are from their particles: in noisy
boxes a profile fits somewhere by chance, and the pick is then the better guess. Nothing is rotated, so this costs a few
Fourier transforms per box.
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
"""The profile is made from at most this many boxes."""
PROFILE_BYTES = 10**9
"""Memory that these boxes, their transforms and correlations may take; of large boxes there are fewer."""
ITERATIONS = 4
CLIP = 4.0
"""Values beyond this many standard deviations (gold, ice) count as this."""
REACH = 6
"""Boxes are shifted by up to their edge over this."""
PROFILE_RADIUS = 4
"""The profile reaches to the boxes' edge over this."""
EXPECTED_SHIFT = 1 / 32
"""Standard deviation of picks about their particles' centres along each axis, as a fraction of the boxes' edge."""
_AXES = (-3, -2, -1)
_BATCH = 256


@dataclass(frozen=True)
class Centring:
    """Where the particles are in their boxes.

    Attributes
    ----------
    shifts_voxels
        (n, 3) x, y, z: the particle's centre lies at voxel box_size // 2 plus this.
    scores
        (n,) covariance with the common profile there, in units of the profile's length; higher is surer.
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

    Particles of several kinds have no profile in common; with `labels`, each kind is centred on its own.

    Parameters
    ----------
    boxes
        (n, z, y, x), mean 0 and standard deviation 1 each, particles bright.
    device
        Where to compute.
    seed
        Decides which boxes make a profile where there are many.
    labels
        (n,) integers; None treats all particles as one kind.
    """
    centring = Centring.none(len(boxes))
    kinds = np.zeros(len(boxes), int) if labels is None else labels
    most = max(1, min(PROFILE_BOXES, PROFILE_BYTES // (12 * int(np.prod(boxes.shape[1:])))))
    progress = Progress(len(boxes), "boxes", "centring")
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        chosen = np.sort(np.random.default_rng(seed).permutation(members)[:most])
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
    """What boxes are compared with.

    `kernel` is the conjugate transform of the radial profile, scaled to length 1. `weight` turns correlations with
    it into log-likelihoods: the profile's length over the variance of such correlations.
    """

    kernel: Tensor
    weight: float


def _common_profile(boxes: Tensor) -> _Profile:
    """Return the radial profile that `boxes` (n, z, y, x) have in common."""
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
    """Return the mean (z, y, x) of boxes given by their transforms, moved back by `shifts` (n, 3) z, y, x."""
    frequencies = [torch.fft.fftfreq(size), torch.fft.fftfreq(size), torch.fft.rfftfreq(size)]
    phases = [
        torch.exp(2j * torch.pi * shifts[:, axis, None] * frequency.to(shifts.device))
        for axis, frequency in enumerate(frequencies)
    ]
    mean = torch.einsum("nzyx,nz,ny,nx->zyx", transforms, *phases) / len(transforms)
    return torch.fft.irfftn(mean, s=(size,) * 3)


def _radial_volume(mean: Tensor) -> Tensor:
    """Return the mean's radial profile as a volume within a sphere; its sum is 0."""
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
    """Return the most probable shifts (n, 3) z, y, x within reach, and the correlations there (n,)."""
    size = transforms.shape[-3]
    reach = size // REACH
    correlation = torch.fft.irfftn(transforms * profile.kernel, s=(size,) * 3, dim=_AXES)
    axis = torch.arange(-reach, reach + 1, device=transforms.device)
    # Shift 0 is at index 0 of a correlation by Fourier transforms, and negative ones come from its end.
    near = correlation[:, axis][:, :, axis][:, :, :, axis].flatten(1)
    z, y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, axis, indexing="ij"))
    square = (z.square() + y.square() + x.square()).float()
    prior = (-0.5 * square / (EXPECTED_SHIFT * size) ** 2).masked_fill(square > reach**2, -torch.inf)
    best = (profile.weight * near + prior).argmax(dim=1)
    return torch.stack([z[best], y[best], x[best]], dim=1), near.gather(1, best[:, None])[:, 0]
