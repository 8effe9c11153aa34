"""Wedge-compensated averages: the sum of the boxes over the sum of what they measured."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryopipe.averaging.fourier_band import Band
from cryopipe.averaging.halfset import HalfSet
from cryopipe.averaging.initial_model import add_symmetric
from cryopipe.averaging.spectra import batches
from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.fsc import FSC

LEAST_COVERAGE = 0.02
"""Added to the weights as a share of their mean in the shell: what almost no box has measured fades to 0."""


def wedge_compensated_sums(half: HalfSet, band: Band) -> Tensor:
    """Sum a half-set's kept boxes, and what they measured, in the reference's frame.

    Interpolation is linear in the transform of the reference padded to twice its size, which errs no more
    than cubic interpolation of the boxes and loses nothing at their corners.

    Parameters
    ----------
    half
        The boxes, their poses, and which are kept.
    band
        All coefficients that the boxes hold.

    Returns
    -------
    Sums for `wedge_compensated_average`; those of several half-sets may be added.
    """
    spectra, wedges, sums = half.spectra, half.spectra.measured(band), band.empty_sums()
    used = np.flatnonzero(half.kept.cpu().numpy())
    for batch in batches(used, len(band) * 200):
        poses = half.poses.chosen(torch.from_numpy(batch))
        raw = spectra.coefficients(half.indices[batch], band, wedges)
        measured = wedges[spectra.scheme_of_box[half.indices[batch]]]
        back = raw * band.shift_phases(-poses.shifts_voxels)
        add_symmetric(band, sums, back, measured, poses.matrices, half.context.symmetry)
    return sums


def wedge_compensated_average(sums: Tensor, band: Band) -> Tensor:
    """Return the (z, y, x) average: summed data over summed measurements."""
    return band.volume_from_sums(sums, torch.full((band.shells + 1,), LEAST_COVERAGE, device=band.device))


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
