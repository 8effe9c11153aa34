"""Posteriors that mean what they say.

Particles of a cluster are not quite Gaussian, and a mixture takes its own means and covariances for exact: its
posteriors are too sure. What they are worth shows without any truth where two mixtures, refined on two halves of the
particles, look at particles that they have not seen: the share of particles to which both give the same cluster. The
log densities are divided by the temperature (Guo et al. 2017) under which one mixture best foretells the other's labels.
Labels stay as they are. Halves are fitted worse than the whole, so that the posteriors come out too modest rather
than too sure; but two kinds that lie in one cluster for both halves stay unnoticed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from cryopipe.mixtures.gaussian import SEARCH_POINTS, Mixture, refine_mixture

DIVISIONS = 3
"""Times that the particles are divided into halves."""
HOTTEST = 5.0
"""Beyond it a half-set has lost one of the clusters, which says nothing about the others' posteriors."""
FEWEST_PER_CLUSTER = 10
"""Half-sets with fewer particles per cluster say nothing about the posteriors."""


def calibrated_posteriors(mixture: Mixture, points: Tensor, temperature: float) -> Tensor:
    """Return the probability of each cluster for `points` (n, d) at a temperature: (n, K), rows sum to 1."""
    return (mixture.log_densities(points) / temperature).softmax(dim=1)


def agreement_temperature(mixture: Mixture, points: Tensor, generator: torch.Generator) -> float:
    """Return the temperature at which half-sets foretell one another's labels best: 1 to `HOTTEST`.

    Parameters
    ----------
    mixture
        Fitted to all points; the halves' mixtures start from it, so that their clusters correspond.
    points
        (n, d).
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    1 for one cluster, and for too few particles.
    """
    points = points[
        torch.randperm(len(points), generator=generator)[:SEARCH_POINTS].to(points.device)
    ].double()
    half = len(points) // 2
    if mixture.count == 1 or half < FEWEST_PER_CLUSTER * mixture.count:
        return 1.0
    densities, labels = [], []
    for _ in range(DIVISIONS):
        order = torch.randperm(len(points), generator=generator).to(points.device)
        parts = points[order[:half]], points[order[half:]]
        first, second = (refine_mixture(part, mixture) for part in parts)
        for part, own, other in ((parts[0], first, second), (parts[1], second, first)):
            densities.append(other.log_densities(part))
            labels.append(own.log_densities(part).argmax(dim=1))
    seen, wanted = torch.cat(densities), torch.cat(labels)
    found = minimize_scalar(
        lambda heat: float(F.cross_entropy(seen / heat, wanted)),
        bounds=(1.0, HOTTEST),
        method="bounded",
        options={"xatol": 0.01},
    )
    return float(found.x)
