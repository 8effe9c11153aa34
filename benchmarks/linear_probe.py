"""Linear probe: how well a linear classifier separates the true classes in a space of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TEST_FRACTION = 0.2
"""Fraction of the boxes of every class on which a classifier is tested."""


def division(
    truth: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the boxes whose labels are used for training, and of those held out for testing.

    Parameters
    ----------
    truth
        (n,) class numbers.
    fraction
        Fraction of the training boxes whose labels are used, 0 to 1; the same in every class, at least one box.
    seed
        Random seed. The test boxes do not depend on `fraction`.
    """
    rng = np.random.default_rng(seed)
    training, test = [], []
    for number in np.unique(truth):
        members = rng.permutation(np.flatnonzero(truth == number))
        held_out = max(1, round(TEST_FRACTION * len(members)))
        test.append(members[:held_out])
        training.append(members[held_out : held_out + max(1, round(fraction * (len(members) - held_out)))])
    return np.concatenate(training), np.concatenate(test)


def linear_probe(
    features: NDArray[np.float32], truth: NDArray[np.int64], fraction: float, seed: int
) -> float:
    """Return the accuracy of a logistic regression on the features, on boxes held out from its training.

    NaN if all boxes are of one class.

    Parameters
    ----------
    features
        (n, d).
    truth
        (n,) class numbers.
    fraction, seed
        See `division`.
    """
    if len(np.unique(truth)) < 2:
        return float("nan")
    return probe_accuracy(features, truth, *division(truth, fraction, seed))


def probe_accuracy(
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    chosen: NDArray[np.intp],
    unseen: NDArray[np.intp],
) -> float:
    """Return the accuracy on the boxes `unseen` of a logistic regression that was trained on the boxes `chosen`."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(probe.fit(features[chosen], truth[chosen]).score(features[unseen], truth[unseen]))
