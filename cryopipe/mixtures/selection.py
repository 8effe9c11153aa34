"""Choice of the number of clusters by an information criterion and the agreement of half-sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import adjusted_rand_score, mutual_info_score
from torch import Tensor

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
    information
        Mean mutual information of these labels in nats, at most the logarithm of the number of clusters; NaN if it was
        not measured. Unlike the stability it is comparable between numbers of clusters: two clusters that all halves
        agree on hold less than three that they nearly agree on.
    """

    mixture: Mixture
    bic: float
    icl: float
    stability: float
    information: float = float("nan")


def fit_candidates(
    points: Tensor, counts: Sequence[int], starts: int, generator: torch.Generator
) -> dict[int, Candidate]:
    """Fit a mixture for each of `counts` clusters that the number of particles permits.

    Of more than `SEARCH_POINTS` particles a random subset of that size is used: a hundred thousand take many times as
    long and give the same clusters, except for clusters of a few hundred members.

    Parameters
    ----------
    points
        (n, d), n at least 2.
    counts
        Numbers of clusters.
    starts
        Random starts for each.
    generator
        Source of randomness, on the CPU.
    """
    if len(points) > SEARCH_POINTS:
        drawn = torch.randperm(len(points), generator=generator)[:SEARCH_POINTS].sort().values
        points = points[drawn.to(points.device)]
    found = {}
    for count in feasible_counts(counts, len(points)):
        mixture = fit_mixture(points, count, starts, generator)
        bic = mixture.bic(points)
        posteriors = mixture.posteriors(points)
        entropy = -float(torch.xlogy(posteriors, posteriors).sum())
        stability, information = half_set_agreement(points, count, generator)
        found[count] = Candidate(mixture, bic, bic + 2 * entropy, stability, information)
    return found


def half_set_agreement(points: Tensor, count: int, generator: torch.Generator) -> tuple[float, float]:
    """Return the agreement on all `points` (n, d) of mixtures of `count` clusters from two halves.

    The first number is the mean adjusted Rand index of `HALVINGS` divisions: 1 for equal labels, about 0 for unrelated
    ones. The second is the mean mutual information in nats. Both are NaN if there are too few points.
    """
    half = len(points) // 2
    if half < MIN_PER_CLUSTER * count:
        return float("nan"), float("nan")
    stability = information = 0.0
    for _ in range(HALVINGS):
        order = torch.randperm(len(points), generator=generator).to(points.device)
        labels = [
            fit_mixture(points[part], count, 3, generator).posteriors(points).argmax(dim=1).cpu().numpy()
            for part in (order[:half], order[half:])
        ]
        stability += adjusted_rand_score(*labels) / HALVINGS
        information += mutual_info_score(*labels) / HALVINGS
    return float(stability), float(information)


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
