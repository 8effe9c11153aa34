"""Gaussian mixtures whose components have one covariance.

Full covariances of a few dozen particles each follow chance, and expectation-maximisation then moves away from the right
classes to a higher likelihood. One covariance, estimated from all particles, does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cryopipe.mixtures.gaussian import CHUNK, Mixture

ITERATIONS = 100
TOLERANCE = 1e-5
SHRINKAGE = 0.1
"""Fraction by which correlations are reduced."""
_FLOOR = 1e-6


def pooled_mixture(points: Tensor, labels: Tensor) -> Mixture:
    """Return the mixture of components with one covariance that starts from groups.

    Parameters
    ----------
    points
        (n, d).
    labels
        (n,) groups, numbered from 0.
    """
    points = points.double()
    memberships = torch.nn.functional.one_hot(labels, int(labels.max()) + 1).double()
    return _maximise(points, _from_memberships(points, memberships))


def refine_pooled(points: Tensor, start: Mixture) -> Mixture:
    """Return the mixture that expectation-maximisation on `points` (n, d) reaches from `start`."""
    return _maximise(points.double(), start)


def _maximise(points: Tensor, mixture: Mixture) -> Mixture:
    previous = -torch.inf
    for _ in range(ITERATIONS):
        densities = mixture.log_densities(points)
        likelihood = float(densities.logsumexp(dim=1).mean())
        if likelihood - previous < TOLERANCE:
            break
        mixture, previous = _from_memberships(points, densities.softmax(dim=1)), likelihood
    return mixture


def _from_memberships(points: Tensor, memberships: Tensor) -> Mixture:
    sizes = memberships.sum(dim=0).clamp(min=1e-6)
    means = memberships.T @ points / sizes[:, None]
    dimensions = points.shape[1]
    covariance = torch.zeros(dimensions, dimensions, dtype=points.dtype)
    for part in points.split(CHUNK):
        covariance += part.T @ part / len(points)
    covariance -= (means * (sizes / len(points))[:, None]).T @ means
    variances = covariance.diagonal().clone()
    covariance *= 1 - SHRINKAGE
    covariance.diagonal().copy_(variances + _FLOOR * variances.mean().clamp(min=1e-12))
    whole = covariance.expand(len(means), dimensions, dimensions).clone()
    return Mixture(sizes / sizes.sum(), means, whole)
