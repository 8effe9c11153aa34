"""Assignment of particles to clusters by their features."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2
from torch import Tensor

from cryopipe.clustering.calibration import agreement_temperature, calibrated_posteriors
from cryopipe.clustering.options import ClusteringOptions
from cryopipe.columns import NO_CLASS, UNASSIGNED
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.mixtures.components import principal_components
from cryopipe.mixtures.dimensions import leading_components
from cryopipe.mixtures.gaussian import SEARCH_POINTS, Mixture, refine_mixture
from cryopipe.mixtures.pooled import pooled_mixture, refine_pooled
from cryopipe.mixtures.selection import choose_count, fit_candidates
from cryopipe.mixtures.splitting import SplitRules, merge_unsupported, split_recursively

logger = logging.getLogger(__name__)

MIN_PARTICLES = 10
"""Fewer particles are one cluster."""
MINIMUM_STABILITY = 0.8
"""Of the division of two clusters; see `Separation`."""
MOST_MIXTURES = 20
"""Mixtures with more clusters are fitted only if the lowest number of clusters is higher."""
OVERSPLIT = 3
"""Largest number of groups before merging, as a multiple of the largest number of clusters."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of particles, and how their number was chosen.

    Attributes
    ----------
    labels
        (n,) 1..K, the largest cluster first; 0 for unassigned particles.
    posteriors
        (n,) calibrated probability of the most probable cluster, also of unassigned particles; see `calibration`.
    selection
        One row per number of clusters considered: clusters; for splits valley and stability of the least separate
        pair, see `Separation`; for mixtures bic, icl, stability.
    uncalibrated
        (n,) posteriors before calibration.
    temperature
        Temperature of the calibration; 1 means that it changed nothing.
    names
        (K,) names of the clusters, if they are classes that the user labelled.
    """

    labels: NDArray[np.int64]
    posteriors: NDArray[np.float64]
    selection: pd.DataFrame
    uncalibrated: NDArray[np.float64]
    temperature: float = 1.0
    names: tuple[str, ...] = ()

    def name_of(self, number: int) -> str:
        """Return the name of a cluster of `names`, or of class 0."""
        return NO_CLASS if number == UNASSIGNED else self.names[number - 1]


def find_clusters(features: ArrayLike, options: ClusteringOptions, seed: int) -> Clusters:
    """Assign particles to clusters by their features, with the method that the options name.

    Parameters
    ----------
    features
        (n, d), all finite.
    options
        See `ClusteringOptions`.
    seed
        Seed of the random numbers; the same seed gives the same clusters.

    Returns
    -------
    The clusters. Fewer than `MIN_PARTICLES` particles are one cluster; without particles there is none.
    """
    values = torch.from_numpy(np.asarray(features, np.float64))
    count = len(values)
    if count < MIN_PARTICLES:
        logger.warning(
            "%d particles: at least %d are needed for clustering; all are put in one cluster",
            count,
            MIN_PARTICLES,
        )
        selection = pd.DataFrame({"clusters": [], "stability": []})
        return Clusters(np.ones(count, np.int64), np.ones(count), selection, np.ones(count))
    generator = torch.Generator().manual_seed(seed)
    fixed = options.clusters[0] == options.clusters[1]
    fit = _by_splits if options.method == "splits" and not fixed else _by_mixtures
    mixture, points, selection, refine = fit(values, options, generator)
    temperature = agreement_temperature(mixture, points, generator, refine)
    posteriors, labels = calibrated_posteriors(mixture, points, temperature).max(dim=1)
    unassigned = (posteriors < options.minimum_posterior) | outliers(
        mixture, points, labels, options.outlier_probability
    )
    numbers = order_by_size(labels.numpy(), unassigned.numpy())
    logger.info(
        "%d clusters in %d dimensions, %d of %d particles unassigned (class 0); temperature of the posteriors %.2f",
        numbers.max(initial=0), points.shape[1], np.sum(numbers == 0), count, temperature,
    )  # fmt: skip
    uncalibrated = mixture.posteriors(points).max(dim=1).values
    return Clusters(numbers, posteriors.numpy(), selection, uncalibrated.numpy(), temperature)


_Fit = tuple[Mixture, Tensor, pd.DataFrame, Callable[[Tensor, Mixture], Mixture]]
"""Mixture, points (n, d) that it was fitted to, history, and function that fits it to other points."""


def _by_mixtures(features: Tensor, options: ClusteringOptions, generator: torch.Generator) -> _Fit:
    points = leading_components(features, options.principal_components)
    low, high = options.clusters
    counts = range(low, min(high, max(low, MOST_MIXTURES)) + 1)
    candidates = fit_candidates(points, counts, options.starts, generator)
    chosen = choose_count(candidates, options.criterion, options.minimum_stability)
    mixture = candidates[chosen].mixture
    if len(points) > SEARCH_POINTS:
        mixture = refine_mixture(points, mixture)
    rows = [
        {"clusters": number, "bic": one.bic, "icl": one.icl, "stability": one.stability}
        for number, one in candidates.items()
    ]
    return mixture, points, pd.DataFrame(rows), refine_mixture


def _by_splits(features: Tensor, options: ClusteringOptions, generator: torch.Generator) -> _Fit:
    rules = SplitRules(
        options.valley, MINIMUM_STABILITY, options.smallest_cluster, options.principal_components
    )
    points = principal_components(features, features.shape[1]).apply(features)
    low, high = options.clusters
    groups = split_recursively(features, rules, low, OVERSPLIT * high, generator)
    groups = _most_probable(pooled_mixture(points, groups), points)
    merged, weakest = merge_unsupported(features, groups, rules, low, high, generator)
    rows = [
        {"clusters": count, "valley": pair.valley, "stability": pair.stability} for count, pair in weakest
    ]
    selection = pd.DataFrame(rows, columns=["clusters", "valley", "stability"])
    return pooled_mixture(points, merged), points, selection.iloc[::-1], refine_pooled


def _most_probable(mixture: Mixture, points: Tensor) -> Tensor:
    """Return (n,) the most probable component of each of `points` (n, d), numbered from 0 without gaps."""
    return mixture.log_densities(points).argmax(dim=1).unique(return_inverse=True)[1]


def clusters_of_classes(classes: ClassProbabilities, minimum_posterior: float) -> Clusters:
    """Assign particles to the classes that the user labelled, numbered from 1 in the order of their names.

    Parameters
    ----------
    classes
        Probabilities of the classes for n particles.
    minimum_posterior
        Particles whose most probable class is less probable are unassigned.
    """
    probabilities = classes.probabilities * (1 - classes.unknown)[:, None]
    posteriors = probabilities.max(axis=1)
    labels = np.where(posteriors < minimum_posterior, UNASSIGNED, probabilities.argmax(axis=1) + 1)
    selection = pd.DataFrame({"clusters": [], "bic": [], "icl": [], "stability": []})
    logger.info(
        "%d classes of the labels, %d of %d particles in none of them (class 0)",
        *(len(classes.names), np.sum(labels == UNASSIGNED), len(labels)),
    )
    return Clusters(labels.astype(np.int64), posteriors, selection, posteriors, names=classes.names)


def outliers(
    mixture: Mixture, points: torch.Tensor, labels: torch.Tensor, probability: float
) -> torch.Tensor:
    """Return which points are too far from their cluster: (n,) booleans.

    Squared Mahalanobis distances from a Gaussian follow a chi-squared distribution. Clusters have heavier tails, so
    the distances in each cluster are first scaled to the median of that distribution.

    Parameters
    ----------
    mixture
        The clusters' Gaussians.
    points
        (n, d).
    labels
        (n,) index of each point's Gaussian.
    probability
        Fraction of a Gaussian's points beyond the limit.
    """
    dimensions = points.shape[1]
    offsets = points.double() - mixture.means[labels]
    factors = torch.linalg.cholesky(mixture.covariances)[labels]
    distances = (
        torch.linalg.solve_triangular(factors, offsets[..., None], upper=False)[..., 0].square().sum(1)
    )
    limit, median = chi2.ppf(1 - probability, dimensions), chi2.ppf(0.5, dimensions)
    beyond = torch.zeros(len(points), dtype=torch.bool)
    for number in labels.unique():
        members = labels == number
        scale = max(1.0, float(distances[members].median()) / median)
        beyond[members] = distances[members] > limit * scale
    return beyond


def order_by_size(labels: NDArray[np.int64], unassigned: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (n,) cluster numbers from 1, the largest first, ties in order of label; 0 for unassigned ones."""
    kept = labels[~unassigned]
    found, sizes = np.unique(kept, return_counts=True)
    order = found[np.argsort(-sizes, kind="stable")]
    numbers = np.full(len(labels), UNASSIGNED, np.int64)
    for number, label in enumerate(order, 1):
        numbers[(labels == label) & ~unassigned] = number
    return numbers
