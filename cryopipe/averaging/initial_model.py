"""A first map from the boxes alone: random orientations, then expectation and maximisation.

Every box is given a random orientation; their average is a ball with a little random shape. From there
each round weighs all orientations and shifts of every box by their likelihood given the map, and makes
the next map from the boxes so weighted. At low resolution this finds the structure from any start; several
starts guard against the exception. No box, and no outside map, is ever the reference.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.fourier_band import Band
from cryopipe.averaging.search import log_likelihoods
from cryopipe.averaging.spectra import BATCH_BYTES, Spectra
from cryopipe.volume.geometry import random_rotations

logger = logging.getLogger(__name__)

START_ANGLE = 25.0
"""Covering radius in degrees of the starts' orientations; they are turned at random every round."""
LEAST_SHARE = 1e-3
"""Orientations less likely than this share of the likeliest, for every box, are passed over."""
_NOISE_TO_SIGNAL = 0.1


@dataclass(frozen=True)
class Start:
    """A first map and how well it explains the boxes (mean log-likelihood above pure noise)."""

    volume: Tensor
    log_likelihood: float


class StartData:
    """What all starts of one half-set share: coefficients of its boxes, noise, wedges and shifts."""

    def __init__(self, spectra: Spectra, indices: NDArray[np.intp], context: AlignmentContext) -> None:
        self.options, self.mask, self.symmetry = context.options, context.mask, context.symmetry
        self.band = band = context.band(context.start_shells)
        self.wedges = spectra.measured(band)
        self.schemes = spectra.scheme_of_box[torch.from_numpy(indices).to(spectra.device)]
        self.coefficients = spectra.coefficients(indices, band, self.wedges)
        self.noise = noise_from_power(self.coefficients, self.wedges[self.schemes], band)
        search = context.exhaustive_search(START_ANGLE)
        self.phases, self.grid = band.shift_phases(search.shifts_voxels), search.matrices


def noise_from_power(coefficients: Tensor, measured: Tensor, band: Band) -> Tensor:
    """Return (K,) standard deviations: each shell's root mean square over what was measured."""
    sums = torch.zeros(2, band.shells + 1, device=band.device)
    sums[0].index_add_(0, band.shell, (coefficients.abs() ** 2).sum(dim=0))
    sums[1].index_add_(0, band.shell, measured.sum(dim=0))
    deviation = (sums[0] / sums[1].clamp(min=1)).sqrt()
    return deviation.clamp(min=1e-6 * float(deviation.max()) + 1e-12)[band.shell]


def best_start(data: StartData, rng: np.random.Generator, what: str) -> Start:
    """Run the starts for a third of their rounds, and the likeliest to its end."""
    options = data.options
    first = max(1, options.start_iterations // 3)
    starts = []
    for number in range(options.starts):
        start = iterate(data, random_average(data, rng), first, rng)
        logger.info(
            "%s, start %d of %d: log-likelihood %.1f a box",
            what,
            number + 1,
            options.starts,
            start.log_likelihood,
        )
        starts.append(start)
    best = max(starts, key=lambda start: start.log_likelihood)
    final = iterate(data, best.volume, max(1, options.start_iterations - first), rng)
    logger.info(
        "%s: log-likelihood %.1f a box after %d rounds", what, final.log_likelihood, options.start_iterations
    )
    return final


def random_average(data: StartData, rng: np.random.Generator) -> Tensor:
    """Return the (z, y, x) average of the boxes in random orientations."""
    matrices = torch.from_numpy(random_rotations(len(data.coefficients), rng).as_matrix()).to(data.mask)
    sums = data.band.empty_sums()
    add_symmetric(data.band, sums, data.coefficients, data.wedges[data.schemes], matrices, data.symmetry)
    return _masked_volume(data, sums)


def iterate(data: StartData, volume: Tensor, rounds: int, rng: np.random.Generator) -> Start:
    """Go from one map to a likelier one."""
    likelihood = 0.0
    for _ in range(rounds):
        turn = torch.from_numpy(random_rotations(1, rng).as_matrix()[0]).to(data.mask)
        # With symmetry the grid covers one region only, so it is turned on the particle's side.
        volume, likelihood = _round(data, volume, turn @ data.grid)
    return Start(volume, likelihood)


def _round(data: StartData, volume: Tensor, matrices: Tensor) -> tuple[Tensor, float]:
    """Weigh all poses by their likelihood and average the boxes so weighted."""
    band, shifts, rotations = data.band, len(data.phases), len(matrices)
    references = band.project(band.reference_grid(volume), matrices) / data.noise
    values = torch.zeros(rotations, 2 * len(band), device=band.device)
    weights = torch.zeros(rotations, len(band), device=band.device)
    total = 0.0
    size = max(1, BATCH_BYTES // (12 * shifts * rotations))
    for first in range(0, len(data.coefficients), size):
        raw, schemes = data.coefficients[first : first + size], data.schemes[first : first + size]
        scores = log_likelihoods(raw / data.noise, schemes, data.wedges, references, data.phases)
        flat = scores.flatten(1)
        total += float(flat.amax(dim=1).sum())
        posterior = torch.softmax(flat, dim=1).reshape(scores.shape)
        shifted = torch.view_as_real(raw[:, None] * data.phases.conj()).reshape(len(raw) * shifts, -1)
        # Most orientations have next to no weight: they are not worth a product.
        best = posterior.flatten(1).amax(dim=1)
        likely = torch.nonzero((posterior.amax(dim=1) > LEAST_SHARE * best[:, None]).any(dim=0))[:, 0]
        share = posterior[:, :, likely]
        values[likely] += share.reshape(-1, len(likely)).T @ shifted
        weights[likely] += share.sum(dim=1).T @ data.wedges[schemes]
    sums = band.empty_sums()
    seen = weights.amax(dim=1) > 0
    coefficients = torch.view_as_complex(values.reshape(rotations, -1, 2)[seen].contiguous())
    add_symmetric(band, sums, coefficients, weights[seen], matrices[seen], data.symmetry)
    return _masked_volume(data, sums), total / len(data.coefficients)


def add_symmetric(
    band: Band, sums: Tensor, values: Tensor, weights: Tensor, matrices: Tensor, symmetry: Tensor
) -> None:
    """Add coefficients to `sums` once for every symmetry-equivalent orientation (no division by their number)."""
    for element in symmetry:
        band.interpolation_sums(values, weights, matrices @ element, sums)


def _masked_volume(data: StartData, sums: Tensor) -> Tensor:
    prior = torch.full((data.band.shells + 1,), _NOISE_TO_SIGNAL, device=data.band.device)
    return data.band.volume_from_sums(sums, prior) * data.mask
