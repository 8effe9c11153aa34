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
        "least_f1": least_f1(truth, classes),
        "clusters": float(len(np.unique(classes))),
    }


def cluster_scores(truth: NDArray[np.int64], clusters: NDArray[np.int64]) -> dict[str, float]:
    """Return the scores of clusters, which are paired with the classes.

    Parameters
    ----------
    truth
        (n,) true class numbers.
    clusters
        (n,) cluster numbers from 1; 0 for unassigned boxes.
    """
    scores = score_clusters(truth.astype(str), clusters)
    return {
        "accuracy": scores.accuracy,
        "homogeneity": scores.homogeneity,
        "v_measure": scores.v_measure,
        "least_f1": least_f1(truth, clusters),
        "clusters": float(scores.clusters),
    }


def least_f1(truth: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """Return the F1 of the class that is found worst: each class is compared with the cluster that fits it best.

    Parameters
    ----------
    truth
        (n,) true class numbers.
    clusters
        (n,) cluster numbers.
    """
    _, rows, sizes = np.unique(truth, return_inverse=True, return_counts=True)
    _, columns, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    common = np.zeros((len(sizes), len(counts)))
    np.add.at(common, (rows, columns), 1)
    return float((2 * common / (sizes[:, None] + counts)).max(axis=1).min())
