"""Replay of a file of decisions on the clusters of a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.clustering.cluster_summary import cluster_summary
from cryopipe.curation.apply import APPLIED, Curated, Divide, apply_decisions
from cryopipe.curation.curation_files import read_curation
from cryopipe.files.features import read_features

logger = logging.getLogger(__name__)


def curate(
    particles: pd.DataFrame, decisions: str | os.PathLike[str] | None, features: str | os.PathLike[str] | None
) -> Curated:
    """Apply the decisions of a file to the clusters of a run, and log what becomes of each.

    Parameters
    ----------
    particles
        All particles with the clusters that were found.
    decisions
        The file; None leaves the clusters as they are.
    features
        The run's features, for decisions that split a cluster; None without decisions.

    Returns
    -------
    The particles, unchanged without decisions, and the tables of outcomes and clusters. The clusters have the columns of
    `cluster_summary`, and with decisions also state and note.

    Raises
    ------
    FileError
        If the file of decisions cannot be read.
    """
    if decisions is None:
        outcomes = pd.DataFrame(columns=["decision", "outcome", "detail"])
        return Curated(particles, cluster_summary(particles), outcomes, np.full(len(particles), ""))
    curation = read_curation(decisions)
    curated = apply_decisions(particles, curation, feature_divider(particles, features))
    for decision, outcome, detail in curated.outcomes.astype(str).to_numpy().tolist():
        level = logging.INFO if outcome == APPLIED else logging.WARNING
        logger.log(level, "%s: %s%s", decision, outcome, f" ({detail})" if detail else "")
    states = curated.clusters[["cluster", "state", "note"]]
    clusters = cluster_summary(curated.particles).merge(states, on="cluster", how="left")
    return Curated(curated.particles, clusters, curated.outcomes, curated.labels)


def feature_divider(particles: pd.DataFrame, features: str | os.PathLike[str] | None) -> Divide | None:
    """Return the function that divides a cluster of `particles` by the features of a file, read when first needed."""
    if not features:
        return None
    from cryopipe.curation.division import (  # loads torch, which most decisions do without
        divide,
        rows_of_features,
    )

    loaded: list[NDArray[np.float32]] = []

    def by_features(rows: NDArray[np.int64], into: int) -> NDArray[np.int64]:
        if not loaded:
            names, values, _ = read_features(features)
            loaded.append(values[rows_of_features(names, _names(particles))])
        return divide(loaded[0][rows], into)

    return by_features


def _names(particles: pd.DataFrame) -> Sequence[str]:
    return [str(name) for name in particles[columns.PARTICLE]]
