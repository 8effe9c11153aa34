"""Assignment of new particles to existing clusters, by the features of the particles that were clustered."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.boxes import ShiftedBoxes
from cryopipe.clustering.calibration import agreement_temperature, calibrated_posteriors
from cryopipe.clustering.cluster_table import cluster_particles
from cryopipe.clustering.clusters import outliers
from cryopipe.clustering.options import ClusteringOptions
from cryopipe.errors import DataError
from cryopipe.features.centring import Centring, find_centres
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.learner import Learner
from cryopipe.files.box_stacks import BoxStack
from cryopipe.mixtures.components import principal_components
from cryopipe.mixtures.pooled import pooled_mixture, refine_pooled

logger = logging.getLogger(__name__)


def cluster_probabilities(
    features: NDArray[np.float64],
    known: NDArray[np.float64],
    clusters: NDArray[np.int64],
    outlier_probability: float,
    seed: int,
) -> ClassProbabilities:
    """Return the probability of every existing cluster for new particles, and whether they are outliers of all.

    A Gaussian of each cluster, with one covariance, is fitted to the particles of the clusters; posteriors are calibrated
    and outliers found as in clustering.

    Parameters
    ----------
    features
        (n, d) of the new particles.
    known, clusters
        (m, d) features and (m,) clusters of particles, 0 for unassigned ones.
    outlier_probability
        Fraction of a cluster's particles beyond the limit.
    seed
        Of the random numbers.

    Returns
    -------
    The probabilities; the names of the classes are the clusters' numbers.

    Raises
    ------
    DataError
        If no particle is in a cluster.
    """
    numbers = np.unique(clusters[clusters != columns.UNASSIGNED])
    if not len(numbers):
        raise DataError("no particle is in a cluster", remedy="run snakemake, to learn and cluster anew")
    assigned = clusters != columns.UNASSIGNED
    projection = principal_components(torch.from_numpy(known[assigned]), known.shape[1])
    points = projection.apply(torch.from_numpy(known[assigned]))
    labels = torch.from_numpy(np.searchsorted(numbers, clusters[assigned]))
    mixture = pooled_mixture(points, labels)
    generator = torch.Generator().manual_seed(seed)
    temperature = agreement_temperature(mixture, points, generator, refine_pooled)
    new = projection.apply(torch.from_numpy(features))
    posteriors = calibrated_posteriors(mixture, new, temperature)
    # limits follow from the distances of a cluster's particles, to which few new ones add little
    together, all_labels = torch.cat([points, new]), torch.cat([labels, posteriors.argmax(dim=1)])
    far = outliers(mixture, together, all_labels, outlier_probability)[len(points) :]
    names = tuple(str(number) for number in numbers)
    return ClassProbabilities(names, posteriors.numpy(), far.numpy().astype(float))


def assign_boxes(
    learner: Learner,
    boxes: BoxStack,
    particles: pd.DataFrame,
    known: NDArray[np.float64],
    clusters: NDArray[np.int64],
    centre: bool,
    options: ClusteringOptions,
) -> pd.DataFrame:
    """Return the table of new particles with their clusters, posteriors and centres.

    Nothing is trained. Boxes are centred on the common profile of the new particles of their cluster, and embedded again, as
    in learning; of duplicates the best is kept, as in clustering.

    Parameters
    ----------
    learner
        With the weights that gave the features of the clusters.
    boxes
        Of the new particles.
    particles
        Their table.
    known, clusters
        See `cluster_probabilities`.
    centre
        Whether the boxes that were clustered were centred.
    options
        Of the clustering.
    """
    features = learner.embed(boxes).astype(np.float64)
    centring = Centring.none(len(boxes))
    if centre and len(boxes):
        found = cluster_probabilities(features, known, clusters, options.outlier_probability, learner.seed)
        groups = np.unique(found.probabilities.argmax(axis=1), return_inverse=True)[1]
        centring = find_centres(boxes, learner.device, learner.seed, groups)
        centred = ShiftedBoxes(boxes, centring.shifts_voxels)
        features = learner.embed(centred).astype(np.float64)
    probabilities = cluster_probabilities(
        features, known, clusters, options.outlier_probability, learner.seed
    )
    shifts = centring.shifts_voxels.astype(np.float64) * boxes.voxel_size
    table, _ = cluster_particles(
        *(particles, boxes.names, features.astype(np.float32), shifts, centring.scores),
        *(options, learner.seed, probabilities),
    )
    numbers = np.array([columns.UNASSIGNED, *map(int, probabilities.names)])
    table[columns.CLASS] = numbers[table[columns.CLASS].to_numpy(int)]
    assigned = table[columns.CLASS][table[columns.CLASS] > 0]
    logger.info("%d of %d particles assigned to %d clusters", len(assigned), len(table), assigned.nunique())
    return table.drop(columns=[columns.CLASS_NAME], errors="ignore")


def cluster_counts(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the number of particles of each cluster, columns cluster and particles, unassigned ones (0) last."""
    counts = particles[columns.CLASS].value_counts()
    numbers = [*sorted(int(number) for number in counts.index if number > 0), columns.UNASSIGNED]
    return pd.DataFrame({"cluster": numbers, "particles": [int(counts.get(number, 0)) for number in numbers]})
