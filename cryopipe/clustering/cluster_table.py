"""Particle table with clusters, posteriors and centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.clustering.clusters import Clusters, clusters_of_classes, find_clusters
from cryopipe.clustering.options import ClusteringOptions
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.particles import pose_columns
from cryopipe.volume.suppression import suppress


def cluster_particles(
    particles: pd.DataFrame,
    names: Sequence[str],
    features: NDArray[np.float32],
    shifts: NDArray[np.float64],
    scores: NDArray[np.float32],
    options: ClusteringOptions,
    seed: int,
    classes: ClassProbabilities | None = None,
) -> tuple[pd.DataFrame, Clusters]:
    """Assign particles to clusters and add clusters and centres to their table.

    Parameters
    ----------
    particles
        Table with the columns of picked particles, see `columns`.
    names
        (n,) names of the particles that have features; each is once in the table.
    features
        (n, d).
    shifts
        (n, 3) angstrom x, y, z from the picked position to the particle's centre.
    scores
        (n,) centring scores; of duplicates the particle with the highest score is kept.
    options
        See `ClusteringOptions`.
    seed
        Seed of the random numbers; the same seed gives the same clusters.
    classes
        Probabilities of the classes that the user labelled, for the n particles; they are then the clusters.

    Returns
    -------
    The table in the order of `names` with columns `CLASS`, `POSTERIOR` and `ORIGINS` (the negative shifts) added, and
    `CLASS_NAME` and the columns of `classes` for classes, and the clusters. Duplicates are not clustered: they are unassigned (class 0) with posterior 0.
    """
    table = particles.set_index(columns.PARTICLE, drop=False).loc[list(names)].reset_index(drop=True)
    voxel_sizes = table[columns.VOXEL_SIZE].to_numpy(float)
    positions = table[list(columns.COORDINATES)].to_numpy(float) * voxel_sizes[:, None] + shifts
    distances = options.duplicate_distance * table[columns.DIAMETER].to_numpy(float)
    duplicate = np.ones(len(table), dtype=bool)
    tomograms = table[columns.TOMOGRAM].astype(str)
    # Of particles with equal scores, the better pick is kept: picks are listed best first.
    kept = suppress(positions, scores, distances, groups=tomograms, distance_of="stronger", ties="order")
    duplicate[kept] = False
    if classes is None:
        found = find_clusters(features[~duplicate], options, seed)
    else:
        found = clusters_of_classes(classes.of(~duplicate), options.minimum_posterior)
    labels = np.full(len(table), columns.UNASSIGNED, np.int64)
    posteriors, uncalibrated = np.zeros(len(table)), np.zeros(len(table))
    labels[~duplicate], posteriors[~duplicate] = found.labels, found.posteriors
    uncalibrated[~duplicate] = found.uncalibrated
    clusters = replace(found, labels=labels, posteriors=posteriors, uncalibrated=uncalibrated)
    table = table.assign(
        **{columns.CLASS: labels, columns.POSTERIOR: posteriors},
        **pose_columns(None, shifts),
    )
    if classes is not None:
        table = table.assign(**classes.columns)
    if clusters.names:
        table[columns.CLASS_NAME] = [clusters.name_of(int(number)) for number in labels]
    return table, clusters
