"""Initial models from the boxes alone, by expectation-maximisation from random orientations.

The first map is the average of the boxes in random orientations. In each round, all orientations and shifts of
every box are weighted by their likelihood given the map, and the weighted boxes give the next map. At low resolution
this usually converges to the structure from any random orientations; the most likely of several initial models is
used because it sometimes does not. Neither a single box nor an external map serves as reference.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import log_likelihoods
from cryopipe.alignment.spectra import BATCH_BYTES, Spectra, noise_from_power
from cryopipe.averaging.context import AlignmentContext
from cryopipe.volume.geometry import random_rotations

logger = logging.getLogger(__name__)

INITIAL_ANGLE = 25.0
"""Covering radius in degrees of the grid of orientations, which is rotated at random in every round."""
LEAST_POSTERIOR = 1e-3
"""Orientations whose posterior is below this fraction of the largest one, for every box, are skipped."""
_NOISE_TO_SIGNAL = 0.1


@dataclass(frozen=True)
class InitialModel:
    """An initial model and the mean log-likelihood of the boxes, relative to that of pure noise."""

    volume: Tensor
    log_likelihood: float


class InitialModelData:
    """Input of all initial models of one half-set: coefficients of its boxes, noise, wedges, rotations, shifts."""

    def __init__(self, spectra: Spectra, indices: NDArray[np.intp], context: AlignmentContext) -> None:
        self.options, self.mask, self.symmetry = context.options, context.mask, context.symmetry
        self.band = band = context.band(context.initial_shells)
        self.wedges = spectra.measured(band)
        self.schemes = spectra.scheme_of_box[torch.from_numpy(indices).to(spectra.device)]
        self.coefficients = spectra.coefficients(indices, band, self.wedges)
        self.noise = noise_from_power(self.coefficients, self.wedges[self.schemes], band)
        search = context.exhaustive_search(INITIAL_ANGLE)
        self.phases, self.grid = band.shift_phases(search.shifts_voxels), search.matrices


def best_initial_model(data: InitialModelData, rng: np.random.Generator, name: str) -> InitialModel:
    """Run all initial models for a third of the rounds, and the most likely one for the rest.

    Parameters
    ----------
    data
        Input of one half-set.
    rng
        Source of the random orientations.
    name
        Name of the half-set in log messages.
    """
    options = data.options
    first = max(1, options.initial_iterations // 3)
    models = []
    for number in range(options.initial_models):
        model = iterate(data, random_average(data, rng), first, rng)
        logger.info(
            "%s, initial model %d of %d: log-likelihood per box %.1f",
            name,
            number + 1,
            options.initial_models,
            model.log_likelihood,
        )
        models.append(model)
    best = max(models, key=lambda model: model.log_likelihood)
    final = iterate(data, best.volume, max(1, options.initial_iterations - first), rng)
    logger.info(
        "%s: log-likelihood per box %.1f after %d rounds",
        name,
        final.log_likelihood,
        options.initial_iterations,
    )
    return final


def random_average(data: InitialModelData, rng: np.random.Generator) -> Tensor:
    """Return the (z, y, x) average of the boxes in random orientations."""
    matrices = torch.from_numpy(random_rotations(len(data.coefficients), rng).as_matrix()).to(data.mask)
    sums = data.band.empty_sums()
    add_symmetric(data.band, sums, data.coefficients, data.wedges[data.schemes], matrices, data.symmetry)
    return _masked_volume(data, sums)


def iterate(data: InitialModelData, volume: Tensor, rounds: int, rng: np.random.Generator) -> InitialModel:
    """Improve a map by rounds of expectation-maximisation."""
    likelihood = 0.0
    for _ in range(rounds):
        rotation = torch.from_numpy(random_rotations(1, rng).as_matrix()[0]).to(data.mask)
        # From the left (the particle's side): with symmetry, the grid covers only one asymmetric unit.
        volume, likelihood = _round(data, volume, rotation @ data.grid)
    return InitialModel(volume, likelihood)


def _round(data: InitialModelData, volume: Tensor, matrices: Tensor) -> tuple[Tensor, float]:
    """Weight all poses by their likelihood and average the weighted boxes."""
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
        # Most orientations have almost no weight; skipping them saves time.
        best = posterior.flatten(1).amax(dim=1)
        likely = torch.nonzero((posterior.amax(dim=1) > LEAST_POSTERIOR * best[:, None]).any(dim=0))[:, 0]
        weight = posterior[:, :, likely]
        values[likely] += weight.reshape(-1, len(likely)).T @ shifted
        weights[likely] += weight.sum(dim=1).T @ data.wedges[schemes]
    sums = band.empty_sums()
    used = weights.amax(dim=1) > 0
    coefficients = torch.view_as_complex(values.reshape(rotations, -1, 2)[used].contiguous())
    add_symmetric(band, sums, coefficients, weights[used], matrices[used], data.symmetry)
    return _masked_volume(data, sums), total / len(data.coefficients)


def add_symmetric(
    band: Band, sums: Tensor, values: Tensor, weights: Tensor, matrices: Tensor, symmetry: Tensor
) -> None:
    """Add coefficients to `sums` in all symmetry-equivalent orientations (not divided by their number)."""
    for element in symmetry:
        band.interpolation_sums(values, weights, matrices @ element, sums)


def _masked_volume(data: InitialModelData, sums: Tensor) -> Tensor:
    prior = torch.full((data.band.shells + 1,), _NOISE_TO_SIGNAL, device=data.band.device)
    return data.band.volume_from_sums(sums, prior) * data.mask
