"""Decoded clusters: the box that a generative learner reconstructs from the mean features of a cluster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryopipe.columns import UNASSIGNED
from cryopipe.errors import LearningError
from cryopipe.features.learner import Learner


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
    maps = learner.decode(centres.astype(np.float32))
    if maps is None:
        raise LearningError(
            f"features.learner: {learner.options.learner} generates no boxes, so clusters cannot be decoded",
            remedy="choose a learner that does, such as autoencoder",
        )
    return dict(zip(numbers, maps, strict=True))
