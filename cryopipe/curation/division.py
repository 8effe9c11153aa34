"""Division of a cluster by the features of its particles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.mixtures.dimensions import leading_components
from cryopipe.mixtures.gaussian import fit_mixture

SEED = 1
"""The same cluster is always divided in the same way."""
STARTS = 10
MOST_COMPONENTS = 16


def divide(features: NDArray[np.float32], into: int) -> NDArray[np.int64]:
    """Divide m particles into parts by a Gaussian mixture of their features.

    Parameters
    ----------
    features
        (m, d).
    into
        Number of parts.

    Returns
    -------
    (m,) the most probable part of each particle, from 0; fewer parts than `into` if some have no particles.
    """
    generator = torch.Generator().manual_seed(SEED)
    points = leading_components(torch.from_numpy(np.asarray(features, np.float64)), MOST_COMPONENTS)
    parts = fit_mixture(points, into, STARTS, generator).posteriors(points).argmax(dim=1)
    return np.asarray(parts.numpy(), np.int64)


def rows_of_features(names: Sequence[str], particles: Sequence[str]) -> NDArray[np.int64]:
    """Return (n,) the row of each of `particles` among the features of `names`; -1 without features."""
    place = {name: row for row, name in enumerate(names)}
    return np.array([place.get(str(name), -1) for name in particles], np.int64)
