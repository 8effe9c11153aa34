"""Options of clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ClusteringOptions(Options):
    """Clusters of particles by their features."""

    SECTION: ClassVar[str] = "clustering"

    method: str = option(
        "mixtures",
        "mixtures: fit a Gaussian mixture for every number of clusters, as published; used for a fixed number of clusters "
        "in any case. splits: divide the particles again and again, then merge clusters without a gap between them; "
        "finds rare classes beside abundant ones.",
        choices=["mixtures", "splits"],
    )
    clusters: Sequence[int] = option(
        (1, 99),
        "Lowest and highest number of clusters to consider; twice the same number fixes it. mixtures considers at most "
        "20 unless the lowest number is higher.",
        minimum=1,
        maximum=999,
        length=(2, 2),
        order="ascending",
    )
    valley: float = option(
        0.65,
        "For splits: two clusters are different if the density of particles between them is below this fraction of "
        "the lower of their peaks. Above 1, clusters are not merged for this reason, which gives more of them.",
        above=0,
        maximum=10,
    )
    smallest_cluster: int = option(
        10, "For splits: fewest particles of a cluster.", minimum=2, maximum=1_000_000
    )
    criterion: str = option(
        "icl",
        "For mixtures: criterion for the number of clusters: icl, which penalises uncertain assignments and so does not split one "
        "species into overlapping parts, or bic, the published one, which splits more the more particles there are.",
        choices=["bic", "icl"],
    )
    principal_components: int = option(
        16,
        "Largest number of principal components in which clusters are sought; fewer are used if they hold 95 % of the "
        "variance.",
        minimum=1,
        maximum=1000,
    )
    starts: int = option(
        10, "For mixtures: random starts for each number of clusters.", minimum=1, maximum=1000
    )
    minimum_stability: float = option(
        0.6,
        "For mixtures: numbers of clusters on which two halves of the particles agree less than this (adjusted Rand "
        "index) are rejected.",
        minimum=0,
        maximum=1,
    )
    minimum_posterior: float = option(
        0.5,
        "Particles whose most probable cluster has a posterior below this are unassigned (class 0).",
        minimum=0,
        maximum=1,
    )
    outlier_probability: float = option(
        0.001,
        "Particles further from their cluster than all but this fraction of the members of a Gaussian are unassigned "
        "(class 0).",
        minimum=0,
        below=1,
    )
    duplicate_distance: float = option(
        0.5,
        "Of particles whose centred positions are nearer than this fraction of the picking diameter, only the one with "
        "the best centring score is kept; the others are unassigned (class 0). 0 keeps all.",
        minimum=0,
        maximum=10,
    )
