"""Calibration of cluster posteriors by temperature scaling, without known labels.

The posteriors of a fitted mixture are too high: clusters are not exactly Gaussian, and the mixture treats its means and
covariances as exact. Therefore mixtures are refined on two halves of the particles, and each predicts the labels that
the other half's mixture gives to its own particles. The log densities are divided by the temperature (Guo et al. 2017)
with the best predictions. Labels do not change. A mixture of half the particles fits worse than one of all, so the
calibrated posteriors are too low rather than too high. Two species that share a cluster in both halves are not detected.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from cryopipe.mixtures.gaussian import SEARCH_POINTS, Mixture, refine_mixture

HALVINGS = 3
"""Number of random divisions of the particles into halves."""
MAX_TEMPERATURE = 5.0
"""A higher temperature means that a half-set lost a cluster, not that the posteriors are too high."""
MIN_PER_CLUSTER = 10
"""Fewest particles per cluster in a half-set; with fewer the temperature is 1."""


def calibrated_posteriors(mixture: Mixture, points: Tensor, temperature: float) -> Tensor:
    """Return the probability of each cluster for `points` (n, d) at a temperature: (n, K), rows sum to 1."""
    return (mixture.log_densities(points) / temperature).softmax(dim=1)


def agreement_temperature(
    mixture: Mixture,
    points: Tensor,
    generator: torch.Generator,
    refine: Callable[[Tensor, Mixture], Mixture] = refine_mixture,
) -> float:
    """Return the temperature at which half-sets predict one another's labels best: 1 to `MAX_TEMPERATURE`.

    Parameters
    ----------
    mixture
        Fitted to all points; initial mixture of both halves, so that their clusters correspond.
    points
        (n, d).
    generator
        Source of randomness, on the CPU.
    refine
        (points, start) -> mixture; fits the mixture of a half.

    Returns
    -------
    The temperature; 1 for one cluster and for too few particles.
    """
    points = points[
        torch.randperm(len(points), generator=generator)[:SEARCH_POINTS].to(points.device)
    ].double()
    half = len(points) // 2
    if mixture.count == 1 or half < MIN_PER_CLUSTER * mixture.count:
        return 1.0
    densities, labels = [], []
    for _ in range(HALVINGS):
        order = torch.randperm(len(points), generator=generator).to(points.device)
        parts = points[order[:half]], points[order[half:]]
        first, second = (refine(part, mixture) for part in parts)
        for part, own, other in ((parts[0], first, second), (parts[1], second, first)):
            densities.append(other.log_densities(part))
            labels.append(own.log_densities(part).argmax(dim=1))
    all_densities, all_labels = torch.cat(densities), torch.cat(labels)
    found = minimize_scalar(
        lambda temperature: float(F.cross_entropy(all_densities / temperature, all_labels)),
        bounds=(1.0, MAX_TEMPERATURE),
        method="bounded",
        options={"xatol": 0.01},
    )
    return float(found.x)
