"""How many clusters there are: a criterion of fit, and whether halves of the data agree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from cryopipe.clustering.options import ClusteringOptions
from cryopipe.mixtures.gaussian import SEARCH_POINTS, Mixture, feasible_counts, fit_mixture

HALVINGS = 3
"""Times that the particles are divided into halves for the stability."""
FEWEST_PER_CLUSTER = 5
"""Half-sets with fewer particles per cluster say nothing about stability."""


@dataclass(frozen=True)
class Candidate:
    """One number of clusters.

    Attributes
    ----------
    mixture
        The best fit.
    bic, icl
        Lower is better.
    stability
        Mean adjusted Rand index of the labels that two half-sets' mixtures give to all particles; NaN where it
        was not measured.
    """

    mixture: Mixture
    bic: float
    icl: float
    stability: float


def fit_candidates(
    points: Tensor, options: ClusteringOptions, generator: torch.Generator
) -> dict[int, Candidate]:
    """Fit a mixture for every number of clusters that the options allow and the particles can carry.

    Of more than `SEARCH_POINTS` particles, so many drawn at random decide, and the mixtures are theirs: a hundred
    thousand would take many times as long and tell the same clusters apart, but for ones of a few hundred members.

    Parameters
    ----------
    points
        (n, d), n at least 2.
    options
        See `ClusteringOptions`.
    generator
        Source of randomness, on the CPU.
    """
    if len(points) > SEARCH_POINTS:
        drawn = torch.randperm(len(points), generator=generator)[:SEARCH_POINTS].sort().values
        points = points[drawn.to(points.device)]
    counts = feasible_counts(range(options.clusters[0], options.clusters[1] + 1), len(points))
    found = {}
    for count in counts:
        mixture = fit_mixture(points, count, options.starts, generator)
        bic = mixture.bic(points)
        chances = mixture.posteriors(points)
        entropy = -float(torch.xlogy(chances, chances).sum())
        stability = half_set_stability(points, count, generator)
        found[count] = Candidate(mixture, bic, bic + 2 * entropy, stability)
    return found


def half_set_stability(points: Tensor, count: int, generator: torch.Generator) -> float:
    """Return how well mixtures of `count` clusters from two halves agree on all `points` (n, d): 0 to 1."""
    half = len(points) // 2
    if half < FEWEST_PER_CLUSTER * count:
        return float("nan")
    scores = []
    for _ in range(HALVINGS):
        order = torch.randperm(len(points), generator=generator).to(points.device)
        labels = [
            fit_mixture(points[part], count, 3, generator).posteriors(points).argmax(dim=1).cpu().numpy()
            for part in (order[:half], order[half:])
        ]
        scores.append(adjusted_rand_score(*labels))
    return float(sum(scores) / len(scores))


def choose_count(candidates: dict[int, Candidate], criterion: str, minimum_stability: float) -> int:
    """Return the number of clusters: the best by the criterion among the stable ones, or the most stable if none is.

    Where the particles are too few to measure the stability, a number of clusters does not count as stable, unless
    that holds for all.
    """
    measured = {count: one.stability for count, one in candidates.items() if one.stability >= 0}
    if measured and max(measured.values()) < minimum_stability:
        return max(measured, key=lambda count: measured[count])
    stable = {count: one for count, one in candidates.items() if one.stability >= minimum_stability}
    stable = stable or candidates
    return min(stable, key=lambda count: getattr(stable[count], criterion))
