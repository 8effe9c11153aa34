"""The resolution of two half-maps, called only where they agree better than noise would."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.search import Poses
from cryopipe.averaging.superposition import NoiseAgreement, common_frame, noise_agreement
from cryopipe.volume.fsc import CorrectedFSC, corrected_fsc, resolution_at

logger = logging.getLogger(__name__)

BETTER_THAN_NOISE = 1.3
"""The half-maps' correlation must exceed this multiple of the best that noise reached; the halves of sets of
pure noise came to 1.2 at most."""


@dataclass(frozen=True)
class Resolution:
    """What two half-maps tell.

    Attributes
    ----------
    fsc
        The curves.
    at_0143, at_05
        Angstrom; infinite where the half-maps agree no better than noise.
    """

    fsc: CorrectedFSC
    at_0143: float
    at_05: float


def measure_resolution(half1: Tensor, half2: Tensor, context: AlignmentContext, seed: int) -> Resolution:
    """Measure the resolution of two independent half-maps that were brought into one frame.

    To find that frame, one half-map was turned and shifted until it fitted best; half-maps of nothing but
    noise agree a little, too, after that. So half-map 1 with random phases is fitted in the same way: only
    if the half-maps agree better than this is a resolution called, and if not, what noise reaches is
    taken off the curve.

    Parameters
    ----------
    half1, half2
        (z, y, x) maps in one frame.
    context
        Of their alignment: the coarse band and the shifts by which they were superposed.
    seed
        Of the random phases.
    """
    mask, max_shift_voxels = context.mask, context.max_shift_voxels
    band = context.band(context.start_shells)
    fsc = corrected_fsc(half1, half2, context.voxel_size, mask, seed)
    here = Poses(torch.eye(3, device=half1.device)[None], torch.zeros(1, 3, device=half1.device))
    _, score = common_frame(half1 * mask, half2 * mask, band, here, max_shift_voxels)
    noise = noise_agreement(half1, half2, mask, band, max_shift_voxels, seed)
    logger.info(
        "the half-maps' correlation is %.2f, that of noise fitted alike up to %.2f", score, noise.score
    )
    if score <= BETTER_THAN_NOISE * noise.score:
        logger.warning("the half-maps agree no better than noise: no resolution is called")
        return Resolution(_without_noise(fsc, noise), math.inf, math.inf)
    at_0143, at_05 = (
        resolution_at(fsc.corrected, threshold, context.options.finest_resolution)
        for threshold in (0.143, 0.5)
    )
    return Resolution(fsc, at_0143, at_05)


def _without_noise(fsc: CorrectedFSC, noise: NoiseAgreement) -> CorrectedFSC:
    """Take off the curve what noise reaches."""
    reached = np.clip(noise.correlation, 0, 0.99)
    corrected = (fsc.masked.correlation - reached) / (1 - reached)
    corrected[0] = 0
    return dataclasses.replace(fsc, corrected=dataclasses.replace(fsc.corrected, correlation=corrected))
