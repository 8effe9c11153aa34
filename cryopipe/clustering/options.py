"""Options of clustering; the schema's section `clustering` has the same keys and their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClusteringOptions:
    """How features become clusters.

    Attributes
    ----------
    clusters
        (lowest, highest) number of clusters to consider.
    criterion
        What decides on their number: "icl", BIC plus the uncertainty of the assignment, which does not split one
        kind into overlapping Gaussians, or "bic", the published one, which does so the more, the more particles
        there are.
    principal_components
        Most dimensions in which the mixtures are fitted, see `dimensions`.
    starts
        Random starts per number of clusters.
    minimum_stability
        Numbers of clusters whose labels agree less than this between half-sets are passed over (adjusted
        Rand index, 0 to 1).
    minimum_posterior
        Particles whose own cluster is less probable than this are noise.
    outlier_probability
        Particles further from their cluster than all but this share of its members would lie, were it
        Gaussian, are noise.
    duplicate_distance
        Of particles whose centred positions are nearer than this fraction of the picking diameter, all but
        the one that fits best are noise; 0 keeps all.
    """

    clusters: Sequence[int] = (1, 20)
    criterion: str = "icl"
    principal_components: int = 16
    starts: int = 10
    minimum_stability: float = 0.6
    minimum_posterior: float = 0.5
    outlier_probability: float = 0.001
    duplicate_distance: float = 0.5
