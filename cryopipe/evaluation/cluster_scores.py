"""Scores of a clustering against true classes.

Unassigned particles (class 0) count as one more cluster for homogeneity, completeness, V-measure and Rand
index. For the accuracy, class 0 is paired with the true class `BACKGROUND` (picks that match no particle) and
with no other class, so every unassigned true particle is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure

BACKGROUND = "background"
"""True class of picks that match no true particle."""


@dataclass(frozen=True)
class ClusterScores:
    """Agreement of clusters with true classes.

    Attributes
    ----------
    particles
        Number of scored particles.
    classes, clusters
        Number of true classes without the background, and of clusters without class 0.
    homogeneity, completeness, v_measure
        0 to 1. Homogeneity is 1 if each cluster contains one class only, completeness is 1 if each class lies
        in one cluster only; the V-measure is their harmonic mean.
    rand_index
        Adjusted Rand index: 0 for random labels, 1 for perfect ones.
    accuracy
        Fraction of particles in the cluster paired with their class; clusters and classes are paired one to
        one by the Hungarian method.
    noise_fraction
        Fraction of unassigned particles (class 0).
    """

    particles: int
    classes: int
    clusters: int
    homogeneity: float
    completeness: float
    v_measure: float
    rand_index: float
    accuracy: float
    noise_fraction: float


def score_clusters(true_classes: np.ndarray, clusters: np.ndarray, unassigned: int = 0) -> ClusterScores:
    """Compare clusters with the true classes of the same particles.

    Parameters
    ----------
    true_classes
        Class name of each particle, (n,); `BACKGROUND` for picks that match no true particle.
    clusters
        Cluster number of each particle, (n,).
    unassigned
        Number of the class of unassigned particles; the module's docstring describes how it is scored.

    Returns
    -------
    The scores; NaN if there are no particles.
    """
    true_classes, clusters = np.asarray(true_classes, dtype=str), np.asarray(clusters, int)
    if len(true_classes) != len(clusters):
        raise ValueError(f"{len(true_classes)} true classes for {len(clusters)} clusters")
    classes = np.unique(true_classes[true_classes != BACKGROUND])
    numbers = np.unique(clusters[clusters != unassigned])
    if not len(clusters):
        nan = float("nan")
        return ClusterScores(0, 0, 0, nan, nan, nan, nan, nan, nan)
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(true_classes, clusters)
    pairs = pair_clusters(true_classes, clusters, unassigned)
    pairs[unassigned] = BACKGROUND
    assigned = np.array([pairs.get(cluster, "") for cluster in clusters.tolist()], dtype=str)
    return ClusterScores(
        particles=len(clusters),
        classes=len(classes),
        clusters=len(numbers),
        homogeneity=float(homogeneity),
        completeness=float(completeness),
        v_measure=float(v_measure),
        rand_index=float(adjusted_rand_score(true_classes, clusters)),
        accuracy=float(np.mean(assigned == true_classes)),
        noise_fraction=float(np.mean(clusters == unassigned)),
    )


def pair_clusters(true_classes: np.ndarray, clusters: np.ndarray, unassigned: int = 0) -> dict[int, str]:
    """Pair clusters with true classes, one to one, with the largest number of agreeing particles.

    Unassigned particles and the background are left out; pairs without a common particle are dropped.

    Returns
    -------
    Class names by cluster number.
    """
    true_classes, clusters = np.asarray(true_classes, dtype=str), np.asarray(clusters, int)
    used = (true_classes != BACKGROUND) & (clusters != unassigned)
    names, rows = np.unique(true_classes[used], return_inverse=True)
    numbers, columns = np.unique(clusters[used], return_inverse=True)
    shared = np.zeros((len(names), len(numbers)), int)
    np.add.at(shared, (rows, columns), 1)
    chosen = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
    return {int(numbers[column]): str(names[row]) for row, column in chosen if shared[row, column]}
