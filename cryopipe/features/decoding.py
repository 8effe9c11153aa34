"""Decoded features: the boxes that a generative learner reconstructs from clusters, between them, and along poses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cryopipe.columns import UNASSIGNED
from cryopipe.errors import LearningError
from cryopipe.features.latent_map import class_centres, interpolated
from cryopipe.features.learner import Learner

STEPS = 7
"""Boxes of a path."""
_LARGEST = 3
"""Clusters between which there are paths."""
_POSE_RANGE = (0.05, 0.95)
"""Quantiles of the poses of the boxes, between which poses are varied."""


@dataclass(frozen=True)
class LatentPath:
    """Boxes (STEPS, z, y, x) that a learner decodes along a path in its latent space, with a title and a caption each."""

    title: str
    maps: NDArray[np.float32]
    captions: tuple[str, ...]


def decode_clusters(
    learner: Learner, features: NDArray[np.float32], clusters: NDArray[np.int64]
) -> dict[int, NDArray[np.float32]]:
    """Decode the mean features of every cluster's members.

    A decoded map shows what the network has learned about a cluster. It is not an average of the particles: there is
    no alignment, and no half-maps from which a resolution follows.

    Parameters
    ----------
    learner
        With a trained model that can decode.
    features
        (n, d) finite features of that model.
    clusters
        (n,) cluster of every particle; unassigned ones (0) are not used.

    Returns
    -------
    A map (z, y, x) per cluster, in ascending order.

    Raises
    ------
    LearningError
        If the learner generates no boxes.
    """
    numbers = [int(number) for number in np.unique(clusters) if number != UNASSIGNED]
    if not numbers:
        return {}
    centres = np.stack([features[clusters == number].mean(axis=0, dtype=np.float64) for number in numbers])
    maps = _decoded(learner, centres.astype(np.float32))
    return dict(zip(numbers, maps, strict=True))


def latent_paths(
    learner: Learner,
    features: NDArray[np.float32],
    clusters: NDArray[np.int64],
    poses: NDArray[np.float32] | None = None,
) -> list[LatentPath]:
    """Decode paths between the mean features of the largest clusters, and along the poses of the largest one.

    A smooth path between two clusters shows that the learner arranged them by their structure; this is the figure of
    the interpolation of affinity-VAE. Along a pose only the orientation should change.

    Parameters
    ----------
    learner
        With a trained model that can decode.
    features
        (n, d) finite features of that model.
    clusters
        (n,) cluster of every particle; unassigned ones (0) are not used.
    poses
        (m, p) poses of some particles by that model; None if it has none.

    Returns
    -------
    Paths between the three largest clusters, then one per pose; none without clusters.
    """
    numbers, counts = np.unique(clusters[clusters != UNASSIGNED], return_counts=True)
    largest = numbers[np.argsort(-counts, kind="stable")][:_LARGEST]
    if not len(largest):
        return []
    places = np.full(len(clusters), -1)
    for place, number in enumerate(largest):
        places[clusters == number] = place
    centres = class_centres(features, places).astype(np.float32)
    fractions = tuple(f"{step / (STEPS - 1):.2f}" for step in range(STEPS))
    paths = []
    for first, second in combinations(range(len(largest)), 2):
        codes = interpolated(centres[first], centres[second], STEPS)
        title = f"From cluster {largest[first]} to cluster {largest[second]}"
        paths.append(LatentPath(title, _decoded(learner, codes), fractions))
    for axis in range(0 if poses is None else poses.shape[1]):
        assert poses is not None
        varied = np.tile(np.median(poses, axis=0), (STEPS, 1)).astype(np.float32)
        lowest, highest = (float(end) for end in np.quantile(poses[:, axis], _POSE_RANGE))
        varied[:, axis] = np.linspace(lowest, highest, STEPS)
        codes = np.tile(centres[0], (STEPS, 1))
        title = f"Pose {axis + 1} of cluster {largest[0]}"
        captions = tuple(f"{value:.2f}" for value in varied[:, axis])
        paths.append(LatentPath(title, _decoded(learner, codes, varied), captions))
    return paths


def _decoded(
    learner: Learner, codes: NDArray[np.float32], poses: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the boxes of latent codes.

    Raises
    ------
    LearningError
        If the learner generates no boxes.
    """
    maps = learner.decode(codes, poses)
    if maps is None:
        raise LearningError(
            f"features.learner: {learner.options.learner} generates no boxes, so clusters cannot be decoded",
            remedy="choose a learner that does, such as autoencoder",
        )
    return maps
