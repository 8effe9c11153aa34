"""Fourier shell correlation (FSC) of two maps, with correction for the effect of a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.volume.fourier import frequency_vectors

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FSC:
    """A Fourier shell correlation curve of maps with a cubic box of n voxels.

    Attributes
    ----------
    correlation
        (n // 2 + 1,), shell i from 0 to Nyquist.
    frequency
        (n // 2 + 1,) 1/angstrom.
    voxel_size
        Angstrom.
    """

    correlation: FloatArray
    frequency: FloatArray
    voxel_size: float

    @property
    def resolution(self) -> FloatArray:
        """Angstrom per shell; infinite for shell 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(1 / self.frequency)


@dataclass(frozen=True)
class CorrectedFSC:
    """FSC curves of two half-maps: unmasked, masked, with randomised phases, and corrected.

    Attributes
    ----------
    unmasked, masked
        Of the half-maps without and with the mask.
    randomised
        With the mask, after phases beyond `randomised_from` were randomised: the correlation due to the
        mask alone.
    corrected
        (masked - randomised) / (1 - randomised) at resolutions finer than `randomised_from`, else masked.
    randomised_from
        Angstrom.
    """

    unmasked: FSC
    masked: FSC
    randomised: FSC
    corrected: FSC
    randomised_from: float


def shell_indices(box_size: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the shell of every coefficient of a cube's unshifted transform: (z, y, x) integers."""
    return (frequency_vectors(box_size, device).norm(dim=-1) * box_size).round().long()


def shell_sums(values: Tensor, shells: Tensor, count: int) -> Tensor:
    """Sum real `values` over each of the first `count` shells, in double precision."""
    sums = torch.zeros(int(shells.max()) + 1, dtype=torch.float64, device=values.device)
    return sums.index_add_(0, shells.reshape(-1), values.reshape(-1).double())[:count]


def fourier_shell_correlation(a: Tensor, b: Tensor, voxel_size: float, mask: Tensor | None = None) -> FSC:
    """Return the Fourier shell correlation of two maps.

    Parameters
    ----------
    a, b
        (n, n, n) maps.
    voxel_size
        Angstrom.
    mask
        (n, n, n); both maps are multiplied by it.

    Returns
    -------
    The curve; the correlation is 0 in a shell in which either map has no power.
    """
    if a.shape != b.shape or len(set(a.shape)) != 1 or a.ndim != 3:
        raise ValueError(f"FSC needs two cubes of one size, not {tuple(a.shape)} and {tuple(b.shape)}")
    if mask is not None:
        a, b = a * mask, b * mask
    n = a.shape[0]
    shells = shell_indices(n, a.device)
    fa, fb = torch.fft.fftn(a.double()), torch.fft.fftn(b.double())
    cross, power_a, power_b = (
        shell_sums(values, shells, n // 2 + 1)
        for values in ((fa * fb.conj()).real, fa.abs() ** 2, fb.abs() ** 2)
    )
    norm = (power_a * power_b).sqrt()
    correlation = torch.where(norm > 0, cross / norm.clamp(min=1e-300), torch.zeros_like(norm))
    return FSC(
        correlation.clamp(-1, 1).cpu().numpy(), np.arange(n // 2 + 1) / (n * voxel_size), float(voxel_size)
    )


def resolution_at(fsc: FSC, threshold: float, finest: float = 0.0) -> float:
    """Return the resolution at which the correlation first falls below `threshold`.

    Parameters
    ----------
    fsc
        The curve.
    threshold
        0.143 for independent half-maps, 0.5 against a known map.
    finest
        Band limit of the data in angstrom; no finer resolution than this, or than Nyquist, is returned.

    Returns
    -------
    Angstrom, interpolated between shells; infinite when the first shell is already below.
    """
    limit = max(finest, 2 * fsc.voxel_size)
    below = np.flatnonzero(fsc.correlation[1:] < threshold)
    if len(below) == 0:
        return limit
    i = int(below[0]) + 1
    if i == 1:
        return math.inf
    high, low = fsc.correlation[i - 1], fsc.correlation[i]
    crossing = np.interp((high - threshold) / (high - low), [0, 1], [fsc.frequency[i - 1], fsc.frequency[i]])
    return max(limit, float(1 / crossing))


def randomise_phases(volume: Tensor, from_shell: int, generator: torch.Generator) -> Tensor:
    """Randomise the phases of all coefficients from shell `from_shell` outwards; amplitudes are kept.

    Parameters
    ----------
    volume
        (n, n, n).
    from_shell
        First shell to randomise.
    generator
        CPU generator; the phases are those of white noise, so the result is real.
    """
    noise = torch.randn(volume.shape, generator=generator, dtype=torch.float32).to(volume)
    phases = torch.fft.fftn(noise)
    phases = phases / phases.abs().clamp(min=1e-12)
    transform = torch.fft.fftn(volume)
    random = transform.abs() * phases
    beyond = shell_indices(volume.shape[0], volume.device) >= from_shell
    return torch.fft.ifftn(torch.where(beyond, random, transform)).real


def without_mask_effect(masked: FSC, randomised: FSC, start: int) -> FSC:
    """Return the FSC of masked maps, corrected for the mask from two shells beyond shell `start`; see `corrected_fsc`."""
    corrected, by_mask = masked.correlation.copy(), randomised.correlation
    shells = np.arange(len(corrected)) >= start + 2
    corrected[shells] = (corrected[shells] - by_mask[shells]) / np.maximum(1 - by_mask[shells], 1e-6)
    return FSC(corrected, masked.frequency, masked.voxel_size)


def corrected_fsc(
    half1: Tensor, half2: Tensor, voxel_size: float, mask: Tensor, seed: int, repeats: int = 4
) -> CorrectedFSC:
    """Return the FSC of masked half-maps, corrected for the correlation due to the mask.

    Parameters
    ----------
    half1, half2
        (n, n, n) independent half-maps, superposed.
    voxel_size
        Angstrom.
    mask
        (n, n, n), 0 to 1.
    seed
        Seed of the random phases.
    repeats
        Number of phase randomisations that are averaged, since small boxes have few coefficients per shell.

    Notes
    -----
    Chen et al., Ultramicroscopy 135 (2013) 24-35. Phases are randomised from the shell where the
    unmasked correlation falls below 0.8. The correction begins two shells further, because the mask blurs
    neighbouring shells.
    """
    unmasked = fourier_shell_correlation(half1, half2, voxel_size)
    masked = fourier_shell_correlation(half1, half2, voxel_size, mask)
    below = np.flatnonzero(unmasked.correlation[1:] < 0.8)
    start = int(below[0]) + 1 if len(below) else len(unmasked.correlation) - 1
    generator = torch.Generator().manual_seed(seed)
    draws = [
        fourier_shell_correlation(
            randomise_phases(half1, start, generator),
            randomise_phases(half2, start, generator),
            voxel_size,
            mask,
        ).correlation
        for _ in range(repeats)
    ]
    by_mask = np.mean(draws, axis=0)
    randomised = FSC(by_mask, unmasked.frequency, unmasked.voxel_size)
    return CorrectedFSC(
        unmasked,
        masked,
        randomised,
        without_mask_effect(masked, randomised, start),
        math.inf if start == 0 else float(1 / unmasked.frequency[start]),
    )
