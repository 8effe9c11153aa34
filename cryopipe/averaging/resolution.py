"""Resolution of two half-maps, reported only if they correlate better than superposed noise."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryopipe.alignment.search import Poses
from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.superposition import NoiseAgreement, noise_agreement, superpose
from cryopipe.volume.fsc import CorrectedFSC, corrected_fsc, resolution_at

logger = logging.getLogger(__name__)

BETTER_THAN_NOISE = 1.3
"""A resolution is reported if the half-maps' correlation exceeds this multiple of the best of superposed noise;
half-maps of pure noise reached at most 1.2."""


@dataclass(frozen=True)
class Resolution:
    """Fourier shell correlation and resolution of two half-maps.

    Attributes
    ----------
    fsc
        The curves.
    at_0143, at_05
        Angstrom, at FSC 0.143 and 0.5; infinite if the half-maps correlate no better than noise.
    """

    fsc: CorrectedFSC
    at_0143: float
    at_05: float


def measure_resolution(half1: Tensor, half2: Tensor, context: AlignmentContext, seed: int) -> Resolution:
    """Measure the resolution of two superposed, independent half-maps.

    Half-maps of pure noise also correlate above zero after superposition. Half-map 2 is therefore superposed on
    phase-randomised copies of half-map 1, too. A resolution is reported only if the half-maps correlate better
    than that; otherwise the curve is corrected for the correlation of superposed noise.

    Parameters
    ----------
    half1, half2
        (z, y, x) superposed maps.
    context
        Context of their alignment.
    seed
        Seed of the random phases.
    """
    mask, max_shift_voxels = context.mask, context.max_shift_voxels
    band = context.band(context.initial_shells)
    fsc = corrected_fsc(half1, half2, context.voxel_size, mask, seed)
    here = Poses(torch.eye(3, device=half1.device)[None], torch.zeros(1, 3, device=half1.device))
    _, score = superpose(half1 * mask, half2 * mask, band, here, max_shift_voxels)
    noise = noise_agreement(half1, half2, mask, band, max_shift_voxels, seed)
    logger.info("correlation of the half-maps: %.2f; of superposed noise: up to %.2f", score, noise.score)
    if score <= BETTER_THAN_NOISE * noise.score:
        logger.warning("resolution not reported (half-map correlation at noise level)")
        return Resolution(_without_noise(fsc, noise), math.inf, math.inf)
    at_0143, at_05 = (
        resolution_at(fsc.corrected, threshold, context.options.finest_resolution)
        for threshold in (0.143, 0.5)
    )
    return Resolution(fsc, at_0143, at_05)


def _without_noise(fsc: CorrectedFSC, noise: NoiseAgreement) -> CorrectedFSC:
    """Correct the FSC for the correlation of superposed noise."""
    reached = np.clip(noise.correlation, 0, 0.99)
    corrected = (fsc.masked.correlation - reached) / (1 - reached)
    corrected[0] = 0
    return dataclasses.replace(fsc, corrected=dataclasses.replace(fsc.corrected, correlation=corrected))
