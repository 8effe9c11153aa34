"""How much better particles fit the average of their class than decoys do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from cryopipe import columns
from cryopipe.alignment.spectra import Spectra
from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.halfset import HalfSet
from cryopipe.averaging.options import MASK_MARGIN, AveragingOptions
from cryopipe.boxes import ChosenBoxes
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.particles import centred_boxes_of_particles
from cryopipe.volume.fourier import low_pass

MOST = 100
"""Particles of each half-set, and decoys, that are compared with a half-map."""
ANGLE = 20.0
"""Degrees; step of the search."""
CHANCE = 0.6
"""Fraction of pairs in which the particle fits better than the decoy that is not yet a difference; 0.5 without any."""


@dataclass(frozen=True)
class Likeness:
    """Comparison of particles and decoys with half-maps that contain neither.

    Attributes
    ----------
    preference
        Fraction of the pairs of a particle and a decoy in which the particle fits the half-map better.
    p
        Probability of a preference as high as this if it is `CHANCE`.
    """

    preference: float
    p: float


NOTHING = Likeness(math.nan, 1.0)
"""Nothing was compared."""


def compare_with_decoys(
    cluster: ClusterAverage,
    boxes: BoxStack,
    decoys: pd.DataFrame,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
) -> Likeness:
    """Compare the particles of a class and decoys with the half-map of the other half-set.

    All orientations and shifts are searched for each, in the band of the initial models, so that decoys have the same chances.
    Decoys are those that are most like the class.

    Parameters
    ----------
    cluster
        With half-maps and aligned particles.
    boxes
        Boxes for averaging of its particles and of the decoys.
    decoys
        Rows of the decoys, those nearest to the class first.
    options, seed, device
        As for `align_particles`.
    """
    particles = cluster.particles
    if not len(particles) or not len(decoys) or cluster.half_maps is None:
        return NOTHING
    diameter = options.mask_diameter or MASK_MARGIN * float(particles[columns.DIAMETER].max())
    context = AlignmentContext(
        cluster.volume.shape[0],
        cluster.voxel_size,
        replace(options, mask_diameter=diameter),
        device or torch.device("cpu"),
    )
    rng = np.random.default_rng(seed)
    ranks: list[float] = []
    counts = [0, 0]
    for half, half_map in enumerate(cluster.half_maps, 1):
        others = particles[particles[columns.HALF_SET] != half]
        others = others.iloc[np.sort(rng.permutation(len(others))[:MOST])]
        chosen = decoys.iloc[:MOST]
        if not len(others):
            continue
        scores = _scores(half_map, boxes, pd.concat([others, chosen], ignore_index=True), context)
        ranks.append(_preference(scores[: len(others)], scores[len(others) :]))
        counts = [counts[0] + len(others), len(chosen)]
    preference = float(np.mean(ranks)) if ranks else math.nan
    return Likeness(preference, preference_p(preference, counts[0], counts[1]))


def _scores(
    half_map: NDArray[np.float32], boxes: BoxStack, table: pd.DataFrame, context: AlignmentContext
) -> NDArray[np.float64]:
    """Return (n,) correlations of boxes with a half-map in their best poses."""
    found, _ = centred_boxes_of_particles(boxes, table)
    chosen = ChosenBoxes(boxes, found.chosen)
    spectra = Spectra(chosen, chosen.tilt_ranges, context.device)
    limit = max(context.options.initial_resolution, 2.2 * context.voxel_size)
    reference = low_pass(torch.from_numpy(half_map.astype(np.float32)), limit, context.voxel_size)
    reference = (reference - reference[context.mask < 0.01].mean()).to(context.device) * context.mask
    half = HalfSet(spectra, np.arange(len(table)), reference, context, 1)
    half.align(context.band(context.initial_shells), context.exhaustive_search(ANGLE), 1)
    return half.scores.double().cpu().numpy()


def _preference(particles: NDArray[np.float64], decoys: NDArray[np.float64]) -> float:
    """Return the fraction of pairs in which the particle has the higher score; ties count half."""
    ranks = rankdata(np.concatenate([particles, decoys]))[: len(particles)]
    wins = ranks.sum() - len(particles) * (len(particles) + 1) / 2
    return float(wins / (len(particles) * len(decoys)))


def preference_p(preference: float, particles: int, decoys: int) -> float:
    """Return the probability of at least this preference if it is `CHANCE` in truth.

    Notes
    -----
    The variance is that of Hanley and McNeil, Radiology 143 (1982) 29-36, at `CHANCE`.
    """
    if not math.isfinite(preference) or particles < 2 or decoys < 2:
        return 1.0
    both, twice = CHANCE / (2 - CHANCE), 2 * CHANCE**2 / (1 + CHANCE)
    square = CHANCE**2
    variance = CHANCE * (1 - CHANCE) + (particles - 1) * (both - square) + (decoys - 1) * (twice - square)
    return float(norm.sf((preference - CHANCE) / math.sqrt(variance / (particles * decoys))))
