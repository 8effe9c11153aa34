"""Initial maps of classes from the boxes of the clusters, by expectation-maximisation from random orientations."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.classification.rounds import Rounds
from cryopipe.volume.geometry import random_rotations

logger = logging.getLogger(__name__)

STARTS = 2
"""Random starts of every map; the one with the higher likelihood is used."""
START_ROUNDS = 6
MOST_BOXES = 120
"""Largest number of boxes of a cluster for its initial map."""
START_PRIOR = 0.1
"""Noise-to-signal ratio of the averages in random orientations."""


def initial_maps(rounds: Rounds, labels: NDArray[np.int64]) -> Tensor:
    """Return (C, z, y, x) maps, one of each cluster of `labels` (n,) 0..C-1, from its own boxes alone.

    All classes run at the same time, each with its own boxes.
    """
    rng, device = rounds.rng, rounds.mask.device
    count = int(labels.max()) + 1
    drawn = [rng.permutation(np.flatnonzero(labels == number))[:MOST_BOXES] for number in range(count)]
    part = torch.from_numpy(np.sort(np.concatenate(drawn))).to(device)
    few = Rounds(rounds.boxes.of(part), rounds.search, rounds.mask, rng)
    own = torch.from_numpy(np.eye(count, dtype=np.float32)[labels]).to(device)[part]
    inside = torch.where(own > 0, 0.0, -torch.inf)
    best_maps: Tensor | None = None
    best = torch.full((count,), -torch.inf, device=device)
    for start in range(STARTS):
        maps, noise = few.start(_random_averages(few, own))
        for _ in range(START_ROUNDS):
            found = few.improve(maps, noise, inside, own)
            maps = found.maps
        likelihood = torch.where(own > 0, found.log_likelihoods, 0.0).sum(dim=0) / own.sum(dim=0)
        logger.info(
            "initial maps, start %d of %d: log-likelihood per box %.1f",
            start + 1,
            STARTS,
            float(likelihood.mean()),
        )
        volumes = maps.filtered()
        better = (likelihood > best)[:, None, None, None]
        best_maps = volumes if best_maps is None else torch.where(better, volumes, best_maps)
        best = torch.maximum(best, likelihood)
    assert best_maps is not None
    return best_maps


def _random_averages(rounds: Rounds, own: Tensor) -> Tensor:
    """Return (C, z, y, x) averages of the boxes of each class, (n, C) 0 or 1, in random orientations."""
    boxes, band = rounds.boxes, rounds.boxes.band
    matrices = torch.from_numpy(random_rotations(len(boxes), rounds.rng).as_matrix()).to(rounds.mask)
    prior = torch.full((band.shells + 1,), START_PRIOR, device=band.device)
    volumes = []
    for column in own.T:
        members = torch.nonzero(column)[:, 0]
        sums = band.empty_sums()
        measured = boxes.wedges[boxes.schemes[members]]
        band.interpolation_sums(boxes.coefficients[members], measured, matrices[members], sums)
        volumes.append(band.volume_from_sums(sums, prior) * rounds.mask)
    return torch.stack(volumes)
