"""Classification by prototypes: a class is the mean of its examples' features, a particle belongs to the nearest class.

Distances are measured in units of the distance of the examples from their own prototypes, each example left out of its
prototype in turn. Particles of no class are further from all prototypes. Where the limit lies is calibrated by the
examples and by the distances of all particles from their nearest prototype, which are a mixture of two gamma
distributions: the first begins at the examples' distances, the second, of particles of no class, is wider.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, logsumexp, polygamma, softmax
from scipy.stats import gamma

from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.particle_labels import UNKNOWN, ParticleLabels

FloatArray = NDArray[np.float64]
_ROUNDS = 60
_NEAREST_UNKNOWN = 1.3
"""Smallest mean distance of particles of no class, in units of the examples' distances."""


@dataclass(frozen=True)
class Prototypes:
    """Prototypes of K classes.

    Attributes
    ----------
    names
        (K,) names of the classes.
    means
        (K, d) means of the examples' features.
    counts
        (K,) numbers of examples.
    unit
        Expected squared distance of a particle from the true mean of its class, estimated from the examples.
    dimensions
        Number of independent directions in which particles of a class differ, estimated from the examples.
    """

    names: tuple[str, ...]
    means: NDArray[np.float32]
    counts: NDArray[np.int64]
    unit: float
    dimensions: float


Distances = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""(means (K, d), features (m, d)) -> squared distances (m, K)."""


def squared_distances(means: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return Euclidean squared distances (m, K) of `features` (m, d) from `means` (K, d)."""
    found = [np.square(features - mean).sum(axis=1) for mean in means]
    return np.stack(found, axis=1).astype(np.float32)


def prototypes_of(
    features: NDArray[np.float32], labels: ParticleLabels, distances: Distances = squared_distances
) -> Prototypes:
    """Return the prototypes of the labelled particles among `features` (n, d); each class has at least two."""
    known = labels.numbers != UNKNOWN
    examples, numbers = features[known], labels.numbers[known]
    counts = np.bincount(numbers, minlength=len(labels.names))
    means = np.stack([examples[numbers == one].mean(axis=0) for one in range(len(counts))])
    own = []
    for example, number in zip(examples, numbers, strict=True):
        others = means.copy()
        others[number] += (means[number] - example) / (counts[number] - 1)
        # the mean of m others is itself uncertain, so that squared distances from it are 1 + 1 / m times as large
        own.append(distances(others, example[None])[0, number] * (counts[number] - 1) / counts[number])
    residuals = (examples - means[numbers]) * np.sqrt(counts / (counts - 1))[numbers, None]
    unit = max(float(np.mean(own)), 1e-12)
    return Prototypes(labels.names, means, counts, unit, _dimensions(residuals.astype(float), features))


def _dimensions(residuals: FloatArray, features: NDArray[np.float32]) -> float:
    """Return the participation ratio of the residuals' variances along the principal axes of all features, at least 2.

    Sums of squares of few residuals are corrected for their uncertainty.
    """
    centred = features.astype(float) - features.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    variances, count = np.square(residuals @ axes).mean(axis=0), len(residuals)
    squares = np.square(variances).sum() * count / (count + 2)
    ratio = (variances.sum() ** 2 - 2 * squares / count) / max(float(squares), 1e-300)
    return float(np.clip(ratio, 2.0, features.shape[1]))


def classify(
    prototypes: Prototypes,
    features: NDArray[np.float32],
    labelled: NDArray[np.bool_] | None = None,
    distances: Distances = squared_distances,
) -> ClassProbabilities:
    """Return the probabilities of the prototypes' classes for all particles.

    Parameters
    ----------
    prototypes
        See `prototypes_of`.
    features
        (n, d).
    labelled
        (n,) True for the examples, which are left out of the calibration of unknown particles; None for none.
    distances
        As for `prototypes_of`.
    """
    others = np.ones(len(features), bool) if labelled is None else ~labelled
    expected = prototypes.unit * (1 + 1 / prototypes.counts)
    relative = distances(prototypes.means, features).astype(float) / expected
    probabilities = softmax(-0.5 * prototypes.dimensions * relative, axis=1)
    unknown = np.zeros(len(features))
    degrees = int((prototypes.counts - 1).sum())
    unknown[others] = unknown_probability(relative[others].min(axis=1), prototypes.dimensions, degrees)
    return ClassProbabilities(prototypes.names, probabilities, unknown)


def classify_by_prototypes(features: NDArray[np.float32], labels: ParticleLabels) -> ClassProbabilities:
    """Return the probabilities of the labelled classes for all particles, by the prototypes of the labelled ones.

    Parameters
    ----------
    features
        (n, d).
    labels
        Of the same n particles; each class has at least two examples.
    """
    return classify(prototypes_of(features, labels), features, labels.numbers != UNKNOWN)


def unknown_probability(distances: FloatArray, dimensions: float, degrees: int) -> FloatArray:
    """Return the probability (m,) that particles belong to no class, by their distance from the nearest prototype.

    A mixture of two gamma distributions is fitted by expectation-maximisation. That of the classes starts with mean 1 and
    the shape of squared distances in `dimensions` directions, which count as `degrees` observations; its mean stays
    within three standard errors of the examples' estimate. That of no class is free, and used only if it makes the
    distances so much more probable that the Bayesian information criterion falls. The probability never falls with the
    distance.

    Parameters
    ----------
    distances
        (m,) in units of the examples' distances.
    dimensions
        See `Prototypes`.
    degrees
        Number of examples that are not needed for the prototypes: examples - classes.
    """
    values = np.maximum(distances, 1e-6)
    if len(values) == 0:
        return np.zeros(0)
    alone, _, _ = _fit(values, dimensions, degrees, 0.0)
    together, far, mean = _fit(values, dimensions, degrees, 0.5)
    if together - alone < 1.5 * np.log(len(values)):  # three parameters more
        return np.zeros(len(values))
    order = np.argsort(values)
    rising = np.empty(len(values))
    rising[order] = np.maximum.accumulate(np.where(values[order] < mean, 0.0, far[order]))
    return rising


def _fit(
    values: FloatArray, dimensions: float, degrees: int, weight: float
) -> tuple[float, FloatArray, float]:
    """Return log-likelihood, posteriors of no class (m,), and mean of the classes; a `weight` of 0 stays 0."""
    shape, mean = dimensions / 2, 1.0
    error = 3 * np.sqrt(2 / (dimensions * degrees))
    expected = np.log(shape) - digamma(shape)
    far_shape, far_mean = 2.0, max(_NEAREST_UNKNOWN, float(np.quantile(values, 0.9)))
    for _ in range(_ROUNDS):
        densities = [np.log1p(-weight) + gamma.logpdf(values, shape, scale=mean / shape)]
        if weight:
            densities.append(np.log(weight) + gamma.logpdf(values, far_shape, scale=far_mean / far_shape))
        total = logsumexp(np.stack(densities), axis=0)
        near = np.exp(densities[0] - total)
        far = 1 - near
        mean = float(
            np.clip((degrees + near @ values) / (degrees + near.sum()), max(0.2, 1 - error), 1 + error)
        )
        shape = _shape((degrees * expected + near @ _gap(values, mean)) / (degrees + near.sum()))
        if weight:
            weight = float(np.clip(far.mean(), 1e-6, 1 - 1e-6))
            far_mean = max(_NEAREST_UNKNOWN * mean, float(far @ values / max(far.sum(), 1e-6)))
            far_shape = _shape(float(far @ _gap(values, far_mean)) / max(float(far.sum()), 1e-6))
    return float(total.sum()), far, mean


def _gap(values: FloatArray, mean: float) -> FloatArray:
    """Return (m,) terms whose mean decides the shape of a gamma distribution with this mean."""
    terms: FloatArray = values / mean - 1 - np.log(values / mean)
    return terms


def _shape(gap: float) -> float:
    """Return the most probable shape, 0.5 to 50: the solution of log(shape) - digamma(shape) = gap."""
    shape = 0.5 / max(gap, 1e-3)
    for _ in range(20):
        step = (np.log(shape) - digamma(shape) - gap) / (1 / shape - polygamma(1, shape))
        shape = max(shape - float(step), shape / 2)
    return float(np.clip(shape, 0.5, 50.0))
