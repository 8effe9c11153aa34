"""Scores of a clustering against true classes.

The noise class (particles that fit no cluster) is a decision of the clustering like any other: it
counts as one more cluster for homogeneity, completeness, V and the Rand index. For the accuracy it is
never paired with a true class, so that every true particle in it is an error; only where the truth has
a class of its own for "no particle" are the two paired, and with nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure

BACKGROUND = "background"
"""True class of a particle that is none."""


@dataclass(frozen=True)
class ClusterScores:
    """Agreement of clusters with true classes.

    Attributes
    ----------
    particles
        Number of particles that were scored.
    classes, clusters
        Number of true classes but the background, and of clusters but the noise class, among them.
    homogeneity, completeness, v_measure
        0 to 1; 1 where each cluster holds one class only, where each class lies in one cluster only, and
        their harmonic mean.
    rand_index
        Adjusted for chance: 0 for random labels, 1 for perfect ones.
    accuracy
        Share of particles that lie in the cluster which was paired with their class, one to one, by the
        Hungarian method.
    noise_fraction
        Share of particles in the noise class.
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


def score_clusters(true_classes: np.ndarray, clusters: np.ndarray, noise: int = 0) -> ClusterScores:
    """Compare clusters with the true classes of the same particles.

    Parameters
    ----------
    true_classes
        Class name of each particle, (n,); `BACKGROUND` for what is no particle.
    clusters
        Cluster number of each particle, (n,).
    noise
        The number of the noise class; see the module's text for its treatment.

    Returns
    -------
    The scores; NaN where there are no particles.
    """
    true_classes, clusters = np.asarray(true_classes, dtype=str), np.asarray(clusters, int)
    if len(true_classes) != len(clusters):
        raise ValueError(f"{len(true_classes)} true classes for {len(clusters)} clusters")
    classes = np.unique(true_classes[true_classes != BACKGROUND])
    numbers = np.unique(clusters[clusters != noise])
    if not len(clusters):
        nan = float("nan")
        return ClusterScores(0, 0, 0, nan, nan, nan, nan, nan, nan)
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(true_classes, clusters)
    pairs = pair_clusters(true_classes, clusters, noise)
    pairs[noise] = BACKGROUND
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
        noise_fraction=float(np.mean(clusters == noise)),
    )


def pair_clusters(true_classes: np.ndarray, clusters: np.ndarray, noise: int = 0) -> dict[int, str]:
    """Pair clusters with true classes, one to one, so that most particles agree.

    Neither the noise class nor the background takes part, and a pair that shares no particle is none.

    Returns
    -------
    Name of the class by number of the cluster.
    """
    true_classes, clusters = np.asarray(true_classes, dtype=str), np.asarray(clusters, int)
    taking_part = (true_classes != BACKGROUND) & (clusters != noise)
    names, rows = np.unique(true_classes[taking_part], return_inverse=True)
    numbers, columns = np.unique(clusters[taking_part], return_inverse=True)
    shared = np.zeros((len(names), len(numbers)), int)
    np.add.at(shared, (rows, columns), 1)
    chosen = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
    return {int(numbers[column]): str(names[row]) for row, column in chosen if shared[row, column]}
