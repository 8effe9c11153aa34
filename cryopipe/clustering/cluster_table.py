"""The table of all particles with their clusters."""

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
    """Sort particles into clusters and note where their centres are.

    Parameters
    ----------
    particles
        Table with the columns of a pick, see `columns`.
    names
        (n,) names of the particles that have features, each in the table once.
    features
        (n, d).
    shifts
        (n, 3) angstrom x, y, z from the picked position to the particle's centre.
    scores
        (n,) how well each particle was centred; of duplicates the one with the highest stays.
    options
        See `ClusteringOptions`.
    seed
        Same seed, same clusters.

    Returns
    -------
    The table in the order of `names` with columns `CLASS`, `POSTERIOR` and `ORIGINS` (the negative shifts) added,
    and the clusters. Duplicates take no part in the clustering; they are noise with posterior 0.
    """
    table = particles.set_index(columns.PARTICLE, drop=False).loc[list(names)].reset_index(drop=True)
    voxel_sizes = table[columns.VOXEL_SIZE].to_numpy(float)
    positions = table[list(columns.COORDINATES)].to_numpy(float) * voxel_sizes[:, None] + shifts
    distances = options.duplicate_distance * table[columns.DIAMETER].to_numpy(float)
    duplicate = (distances > 0) & find_duplicates(positions, table[columns.TOMOGRAM], scores, distances)
    found = find_clusters(features[~duplicate], options, seed)
    labels = np.full(len(table), columns.NOISE_CLASS, np.int64)
    posteriors, uncalibrated = np.zeros(len(table)), np.zeros(len(table))
    labels[~duplicate], posteriors[~duplicate] = found.labels, found.posteriors
    uncalibrated[~duplicate] = found.uncalibrated
    table = table.assign(
        **{columns.CLASS: labels, columns.POSTERIOR: posteriors},
        **pose_columns(None, shifts),
    )
    return table, Clusters(labels, posteriors, found.selection, uncalibrated, found.temperature)
