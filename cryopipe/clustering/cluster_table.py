"""Particle table with clusters, posteriors and centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.clustering.clusters import Clusters, find_clusters
from cryopipe.clustering.duplicate_picks import find_duplicates
from cryopipe.clustering.options import ClusteringOptions
from cryopipe.particles import pose_columns


def cluster_particles(
    particles: pd.DataFrame,
    names: Sequence[str],
    features: NDArray[np.float32],
    shifts: NDArray[np.float64],
    scores: NDArray[np.float32],
    options: ClusteringOptions,
    seed: int,
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

    Returns
    -------
    The table in the order of `names` with columns `CLASS`, `POSTERIOR` and `ORIGINS` (the negative shifts) added,
    and the clusters. Duplicates are not clustered: they are unassigned (class 0) with posterior 0.
    """
    table = particles.set_index(columns.PARTICLE, drop=False).loc[list(names)].reset_index(drop=True)
    voxel_sizes = table[columns.VOXEL_SIZE].to_numpy(float)
    positions = table[list(columns.COORDINATES)].to_numpy(float) * voxel_sizes[:, None] + shifts
    distances = options.duplicate_distance * table[columns.DIAMETER].to_numpy(float)
    duplicate = (distances > 0) & find_duplicates(positions, table[columns.TOMOGRAM], scores, distances)
    found = find_clusters(features[~duplicate], options, seed)
    labels = np.full(len(table), columns.UNASSIGNED, np.int64)
    posteriors, uncalibrated = np.zeros(len(table)), np.zeros(len(table))
    labels[~duplicate], posteriors[~duplicate] = found.labels, found.posteriors
    uncalibrated[~duplicate] = found.uncalibrated
    table = table.assign(
        **{columns.CLASS: labels, columns.POSTERIOR: posteriors},
        **pose_columns(None, shifts),
    )
    return table, Clusters(labels, posteriors, found.selection, uncalibrated, found.temperature)
