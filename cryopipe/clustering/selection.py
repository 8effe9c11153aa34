"""Choice of the number of clusters by an information criterion and the agreement of half-sets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from cryopipe.clustering.options import ClusteringOptions
from cryopipe.mixtures.gaussian import SEARCH_POINTS, Mixture, feasible_counts, fit_mixture

HALVINGS = 3
"""Number of random divisions of the particles into halves for the stability."""
MIN_PER_CLUSTER = 5
"""Fewest particles per cluster in a half-set; with fewer the stability is not measured."""


@dataclass(frozen=True)
class Candidate:
    """A number of clusters with its mixture and scores.

    Attributes
    ----------
    mixture
        Best mixture with this number of clusters.
    bic, icl
        Lower is better.
    stability
        Mean adjusted Rand index of the labels that the mixtures of two half-sets give to all particles; NaN if it
        was not measured.
    """

    mixture: Mixture
    bic: float
    icl: float
    stability: float


def fit_candidates(
    points: Tensor, options: ClusteringOptions, generator: torch.Generator
) -> dict[int, Candidate]:
    """Fit a mixture for every number of clusters that the options allow and the number of particles permits.

    Of more than `SEARCH_POINTS` particles a random subset of that size is used: a hundred thousand take many times as
    long and give the same clusters, except for clusters of a few hundred members.

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
        posteriors = mixture.posteriors(points)
        entropy = -float(torch.xlogy(posteriors, posteriors).sum())
        stability = half_set_stability(points, count, generator)
        found[count] = Candidate(mixture, bic, bic + 2 * entropy, stability)
    return found


def half_set_stability(points: Tensor, count: int, generator: torch.Generator) -> float:
    """Return the agreement on all `points` (n, d) of mixtures of `count` clusters from two halves.

    It is the mean adjusted Rand index of `HALVINGS` divisions: 1 for equal labels, about 0 for unrelated ones; NaN if
    there are too few points.
    """
    half = len(points) // 2
    if half < MIN_PER_CLUSTER * count:
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
    """Return the number of clusters: the best by the criterion of the stable ones; the most stable if none is stable.

    A number of clusters whose stability was not measured does not count as stable, unless none was measured.
    """
    measured = {count: one.stability for count, one in candidates.items() if one.stability >= 0}
    if measured and max(measured.values()) < minimum_stability:
        return max(measured, key=lambda count: measured[count])
    stable = {count: one for count, one in candidates.items() if one.stability >= minimum_stability}
    stable = stable or candidates
    return min(stable, key=lambda count: getattr(stable[count], criterion))
