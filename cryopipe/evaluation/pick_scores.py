"""Scores of picking: recall, precision and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryopipe.evaluation.point_matching import Matches

ALL = "all"
"""Name of the row, in every table, with the scores over everything."""


@dataclass(frozen=True)
class DetectionScore:
    """Counts of a detection, with recall, precision and F1.

    Attributes
    ----------
    found, truth, matched
        Number of picks, of true particles, and of matched pairs.
    """

    found: int
    truth: int
    matched: int

    @property
    def recall(self) -> float:
        """Fraction of the true particles that were found, 0 to 1; NaN if there are none."""
        return self.matched / self.truth if self.truth else float("nan")

    @property
    def precision(self) -> float:
        """Fraction of the picks that are true, 0 to 1; NaN if there are none."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision, 0 to 1; NaN if there are neither picks nor true particles."""
        total = self.found + self.truth
        return 2 * self.matched / total if total else float("nan")


def score_picking(matches: Sequence[Matches]) -> DetectionScore:
    """Score the picks of several tomograms together."""
    return DetectionScore(
        sum(match.found_count for match in matches),
        sum(match.truth_count for match in matches),
        sum(len(match.found) for match in matches),
    )


def recall_table(true_classes: np.ndarray, matched: np.ndarray) -> pd.DataFrame:
    """Return the recall of picking for each true class.

    Picks have no class before clustering, so precision per class is undefined here; `cluster_detection` has it.

    Parameters
    ----------
    true_classes
        Class name of each true particle, (m,).
    matched
        True where the particle was found, (m,) boolean.

    Returns
    -------
    Columns class, truth, matched, recall; one row per class in the order of the names.
    """
    rows = []
    for name in np.unique(np.asarray(true_classes, dtype=str)):
        members = np.asarray(true_classes, dtype=str) == name
        score = DetectionScore(0, int(members.sum()), int(np.asarray(matched, bool)[members].sum()))
        rows.append({"class": name, "truth": score.truth, "matched": score.matched, "recall": score.recall})
    return pd.DataFrame(rows, columns=["class", "truth", "matched", "recall"])


def cluster_detection(
    clusters: np.ndarray, matched_classes: np.ndarray, true_counts: dict[str, int], unassigned: int
) -> pd.DataFrame:
    """Score every cluster as a detector of its most frequent true class.

    Parameters
    ----------
    clusters
        Cluster of each particle, (n,).
    matched_classes
        True class of each particle's match, "" for no match, (n,).
    true_counts
        Number of true particles of each class, found or not.
    unassigned
        Number of the class of unassigned particles; it gets no row.

    Returns
    -------
    Columns cluster, class, found, truth, matched, recall, precision, f1; class is "" and the scores are NaN
    if no particle of the cluster matches a true one.
    """
    clusters, matched_classes = np.asarray(clusters, int), np.asarray(matched_classes, dtype=str)
    rows = []
    for cluster in np.unique(clusters[clusters != unassigned]):
        members = matched_classes[clusters == cluster]
        names, counts = np.unique(members[members != ""], return_counts=True)
        name = str(names[np.argmax(counts)]) if len(names) else ""
        matched = int(counts.max()) if len(names) else 0
        score = DetectionScore(len(members), true_counts.get(name, 0), matched)
        rows.append(
            {
                "cluster": int(cluster),
                "class": name,
                "found": score.found,
                "truth": score.truth,
                "matched": score.matched,
                "recall": score.recall,
                "precision": score.precision,
                "f1": score.f1 if name else float("nan"),
            }
        )
    return pd.DataFrame(
        rows, columns=["cluster", "class", "found", "truth", "matched", "recall", "precision", "f1"]
    )
