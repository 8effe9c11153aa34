"""Scores of classes that a method with labels or maps assigns to particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryopipe.evaluation.cluster_scores import score_clusters


def class_scores(truth: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, float]:
    """Return the scores of assigned classes.

    Unlike clusters, classes are known by number: accuracy is the fraction of the particles in their own class.

    Parameters
    ----------
    truth
        (n,) true class numbers.
    classes
        (n,) assigned class numbers.
    """
    scores = score_clusters(truth.astype(str), classes + 1)
    return {
        "accuracy": float(np.mean(classes == truth)),
        "homogeneity": scores.homogeneity,
        "v_measure": scores.v_measure,
        "clusters": float(len(np.unique(classes))),
    }
