"""Wedge-compensated averages: the sum of the boxes over the sum of what they measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryopipe.averaging.halfset import HalfSet
from cryopipe.averaging.spectra import Spectra, batches
from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.fsc import FSC
from cryopipe.volume.rotate import rotate_volumes
from cryopipe.volume.wedge import measured

LEAST_COVERAGE = 0.02
"""Share of the boxes that must have measured a coefficient, or it is left empty."""


@dataclass(frozen=True)
class FourierSums:
    """Sums over aligned boxes: `values` (z, y, x) complex, `weights` (z, y, x) real, and their number."""

    values: Tensor
    weights: Tensor
    count: int

    def __add__(self, other: FourierSums) -> FourierSums:
        return FourierSums(self.values + other.values, self.weights + other.weights, self.count + other.count)

    def average(self) -> Tensor:
        """Return the (z, y, x) average."""
        floor = LEAST_COVERAGE * max(1, self.count)
        covered = self.weights >= floor
        transform = torch.where(covered, self.values / self.weights.clamp(min=floor), 0)
        return torch.fft.ifftn(transform).real


def wedge_compensated_sums(spectra: Spectra, half: HalfSet, symmetry: Tensor) -> FourierSums:
    """Sum a half-set's kept boxes in the reference's frame, with cubic interpolation.

    Parameters
    ----------
    spectra
        The boxes.
    half
        Their poses, and which are kept.
    symmetry
        (g, 3, 3) rotations of the point group; each box is added in every equivalent orientation.
    """
    n, device = spectra.box_size, spectra.device
    frequencies = frequency_vectors(n, device)
    values = torch.zeros((n,) * 3, dtype=torch.complex64, device=device)
    weights = torch.zeros((n,) * 3, device=device)
    used = np.flatnonzero(half.kept.cpu().numpy())
    for batch in batches(used, n**3 * 100):
        boxes = spectra.volumes(half.indices[batch])
        schemes = spectra.scheme_of_box[half.indices[batch]].tolist()
        poses = half.poses.chosen(torch.from_numpy(batch).to(device))
        for element in symmetry:
            turn = (poses.matrices @ element).transpose(1, 2)
            # Reference = R^-1 (particle - shift).
            shift = -torch.einsum("nij,nj->ni", turn, poses.shifts_voxels)
            aligned = torch.fft.fftn(rotate_volumes(boxes, turn, shift, "cubic"), dim=(-3, -2, -1))
            seen = torch.stack(
                [
                    measured(frequencies @ t, tuple(spectra.schemes[s]))
                    for t, s in zip(turn, schemes, strict=True)
                ]
            )
            values += (aligned * seen).sum(dim=0)
            weights += seen.sum(dim=0)
    return FourierSums(values, weights, len(used) * len(symmetry))


def fsc_weighted(average: Tensor, fsc: FSC) -> Tensor:
    """Weight each shell of the full average by its estimated correlation with the truth.

    That is sqrt(2 FSC / (1 + FSC)) of the half-maps' FSC up to where it first falls to zero, then 0.

    Notes
    -----
    Rosenthal and Henderson, J. Mol. Biol. 333 (2003) 721-745.
    """
    values = np.clip(fsc.correlation, 0, 1)
    gain = np.sqrt(2 * values / (1 + values))
    gain[0] = 1
    ends = np.flatnonzero(values[1:] <= 0)
    if len(ends):
        gain[ends[0] + 1 :] = 0
    radius = frequency_vectors(average.shape[-1], average.device).norm(dim=-1) * average.shape[-1]
    factor = np.interp(radius.cpu().numpy(), np.arange(len(gain)), gain, right=0)
    transform = torch.fft.fftn(average) * torch.from_numpy(factor).to(average)
    return torch.fft.ifftn(transform).real
