"""Classes of the particles of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.averaging.half_sets import neighbourhoods
from cryopipe.averaging.options import MASK_MARGIN
from cryopipe.classification.classify import HISTORY, classify_boxes, number_of_starts
from cryopipe.classification.options import ClassificationOptions
from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.files.box_stacks import BoxStack
from cryopipe.particles import boxes_of_particles, positions_of_table

LEAST_PARTICLES = 40
"""With fewer particles, the clusters of the features are the classes."""


def classify_particles(
    boxes: BoxStack,
    particles: pd.DataFrame,
    features: NDArray[np.float64],
    options: ClassificationOptions,
    clustering: ClusteringOptions,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Replace the clusters of a particle table by classes that averages decide.

    Particles that are duplicates (class 0 and posterior 0) stay unassigned and are not compared.

    Parameters
    ----------
    boxes
        The particles' boxes, particles bright.
    particles
        n rows with `CLASS`, `POSTERIOR`, origins and diameters.
    features
        (n, d).
    options, clustering
        Of the classification, and of the clusters it starts from.
    seed, device, checkpoint
        As for `classify_boxes`.

    Returns
    -------
    The table with classes, posteriors and log-likelihoods, and the history of the classification. The history is empty and
    the clusters are the classes with the method `features`, with labels of the user, and with fewer than
    `LEAST_PARTICLES` particles.
    """
    compared = np.flatnonzero(particles[columns.POSTERIOR].to_numpy(float) > 0)
    named = columns.CLASS_NAME in particles
    if options.method == "features" or named or len(compared) < LEAST_PARTICLES:
        return particles, pd.DataFrame(columns=HISTORY)
    mine = particles.iloc[compared]
    chosen, _ = boxes_of_particles(boxes, mine)
    diameter = MASK_MARGIN * float(mine[columns.DIAMETER].median())
    groups = neighbourhoods(positions_of_table(mine), mine[columns.TOMOGRAM].astype(str).tolist(), diameter)
    found = classify_boxes(
        chosen, chosen.tilt_ranges, features[compared],
        many_clusters(features[compared], int(mine[columns.CLASS].max()), options, clustering, seed),
        groups, boxes.voxel_size, diameter, options, seed, device, checkpoint,
    )  # fmt: skip
    table = particles.copy()
    for column, values, empty in (
        (columns.CLASS, found.labels, columns.UNASSIGNED),
        (columns.POSTERIOR, found.posteriors, 0.0),
        (columns.CLASS_LIKELIHOOD, found.log_likelihoods, 0.0),
    ):
        whole = np.full(len(table), empty, dtype=values.dtype)
        whole[compared] = values
        table[column] = whole
    return table, found.history


def many_clusters(
    features: NDArray[np.float64],
    found: int,
    options: ClassificationOptions,
    clustering: ClusteringOptions,
    seed: int,
) -> NDArray[np.int64]:
    """Return the (n,) clusters 0..C-1 of the features from which a classification starts.

    Parameters
    ----------
    features
        (n, d).
    found
        Number of clusters that the features show; more are made.
    options, clustering, seed
        See `classify_particles`.
    """
    count = number_of_starts(len(features), found, options)
    fixed = replace(clustering, clusters=(count, count), minimum_posterior=0.0, outlier_probability=0.0)
    labels = find_clusters(features, fixed, seed).labels
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)
