"""Decoys among particles in feature space: local false discovery rates and the decoys in every class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from cryopipe.mixtures.components import principal_components

FloatArray = NDArray[np.float64]
COMPONENTS = 8
"""Principal components of the features in which neighbours are searched."""
NEIGHBOURS = 10
"""Particles around a decoy that decide on its class."""
WITHIN = 0.95
OUTSIDE = -1
"""Class of decoys that are in none."""
FOLDS, REGULARISATION = 5, 0.1
CERTAINLY_FEWER = 1.645
"""Standard deviations by which the particles among typical decoys have to be fewer than if all particles were noise."""


@dataclass(frozen=True)
class DecoyDensity:
    """Decoys around n particles in feature space.

    Attributes
    ----------
    false_discovery
        (n,) probability that a particle is picked noise, 0 to 1.
    noise_fraction
        Fraction of all particles that are picked noise.
    classes_of_decoys
        (m,) class of most of the particles around each decoy; `OUTSIDE` if it is far from them.
    """

    false_discovery: FloatArray
    noise_fraction: float
    classes_of_decoys: NDArray[np.int64]


def decoy_density(
    features: NDArray[np.float32], decoys: NDArray[np.float32], classes: NDArray[np.int64]
) -> DecoyDensity:
    """Compare the densities of particles and decoys in feature space.

    The local false discovery rate is the density of picked noise over that of all particles. A quadratic boundary between
    particles and decoys orders all of them; along this order the fraction of decoys, which never decreases, gives the ratio of
    both densities. The fraction of noise among the particles is their density where half of the decoys are; it is 1 unless it is
    significantly less.

    Parameters
    ----------
    features
        (n, d) of the particles.
    decoys
        (m, d) of at least `FOLDS` decoys.
    classes
        (n,) classes of the particles.
    """
    n, m = len(features), len(decoys)
    together = torch.from_numpy(np.concatenate([features, decoys]).astype(np.float32))
    points = principal_components(together, COMPONENTS).apply(together).double().numpy()
    is_decoy = np.arange(n + m) >= n
    scores = _scores_of_decoys(points, is_decoy)
    # where most decoys are, nearly all particles are noise
    usual = scores > np.median(scores[is_decoy])
    noise = noise_fraction(int(usual[:n].sum()), n, int(usual[n:].sum()), m)
    probability = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(scores, is_decoy.astype(float))[:n]
    odds = probability / np.maximum(1 - probability, 1e-12)
    rates = np.clip(noise * odds * n / m, 0, 1)
    found = _classes_around(points[n:], points[:n], classes)
    # the boundary tells decoys from a class better than distances do
    for number in np.unique(classes):
        usual_here = np.quantile(scores[:n][classes == number], WITHIN)
        found[(found == number) & (scores[n:] > usual_here)] = OUTSIDE
    return DecoyDensity(rates, noise, found)


def _scores_of_decoys(points: FloatArray, is_decoy: NDArray[np.bool_]) -> FloatArray:
    """Return (n,) how much each point is like decoys, by a quadratic boundary that was fitted without it."""
    model = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(),
        LogisticRegression(C=REGULARISATION, max_iter=500),
    )  # fmt: skip
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return np.asarray(cross_val_predict(model, points, is_decoy, cv=folds, method="decision_function"))


def _classes_around(places: FloatArray, points: FloatArray, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of most of the particles nearest to each place; -1 for places outside the classes.

    A place is outside a class if its nearest particles are further than those of 95 % of the particles of the class.
    """
    tree, count = cKDTree(points), min(NEIGHBOURS, len(points) - 1)
    own = tree.query(points, k=count + 1)[0].reshape(len(points), -1)[:, -1]
    apart, nearest = (found.reshape(len(places), -1) for found in tree.query(places, k=count))
    near = classes[nearest]
    numbers = np.unique(classes)
    chosen = numbers[(near[:, :, None] == numbers).sum(axis=1).argmax(axis=1)].astype(np.int64)
    limits = {int(number): float(np.quantile(own[classes == number], WITHIN)) for number in numbers}
    inside = apart[:, -1] <= np.array([limits[int(number)] for number in chosen])
    return np.where(inside, chosen, OUTSIDE)


def noise_fraction(particles: int, n: int, decoys: int, m: int) -> float:
    """Return the fraction of noise among n particles, of which so many are where so many of m decoys are.

    An estimate that is cut off at 1 is on average too low for noise alone: sampling errors above 1 are lost. It is therefore
    used only if it is significantly less than 1.
    """
    expected, found = decoys / m, (particles + 0.5) / n
    error = math.sqrt(expected * (1 - expected) * (1 / n + 1 / m))
    return 1.0 if found > expected - CERTAINLY_FEWER * error else float(found / expected)
