"""Wedge-compensated averages: summed Fourier coefficients divided by summed wedge masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.spectra import batches
from cryopipe.averaging.halfset import HalfSet
from cryopipe.averaging.initial_model import add_symmetric
from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.fsc import FSC

LEAST_COVERAGE = 0.02
"""Added to the weights as a fraction of their mean in the shell, which damps coefficients that few boxes measured."""


def wedge_compensated_sums(half: HalfSet, band: Band) -> Tensor:
    """Sum a half-set's kept boxes and their wedge masks in the reference's axes.

    Interpolation is linear in the transform padded to twice its size. This is as accurate as cubic interpolation
    of the boxes, and does not cut off their corners.

    Parameters
    ----------
    half
        The boxes, their poses, and which are kept.
    band
        All Fourier coefficients of the boxes.

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
    """Return the (z, y, x) average: summed coefficients divided by summed wedge masks."""
    return band.volume_from_sums(sums, torch.full((band.shells + 1,), LEAST_COVERAGE, device=band.device))


def fsc_weighted(average: Tensor, fsc: FSC) -> Tensor:
    """Weight each shell of the full average by its estimated correlation with the true map.

    The weight is sqrt(2 FSC / (1 + FSC)) of the half-maps' FSC, and 0 from the first shell where it is zero.

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
