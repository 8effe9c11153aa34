"""Clustering of particles by Gaussian mixtures: number of clusters, labels, posteriors, unassigned particles.

The names are imported when they are first used: tables of particles need no torch.
"""

from typing import TYPE_CHECKING

from cryopipe.lazy_names import lazy_names

if TYPE_CHECKING:
    from cryopipe.clustering.cluster_table import cluster_particles
    from cryopipe.clustering.clusters import Clusters, find_clusters
    from cryopipe.clustering.options import ClusteringOptions

__all__ = [
    "ClusteringOptions",
    "Clusters",
    "cluster_particles",
    "find_clusters",
]
__getattr__ = lazy_names(
    __name__,
    {
        "ClusteringOptions": "options",
        "Clusters": "clusters",
        "cluster_particles": "cluster_table",
        "find_clusters": "clusters",
    },
)
