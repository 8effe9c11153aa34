"""Clusters of particles, their number, their noise class and their posteriors."""

from cryopipe.clustering.cluster_table import cluster_particles
from cryopipe.clustering.clusters import Clusters, find_clusters
from cryopipe.clustering.options import ClusteringOptions

__all__ = ["ClusteringOptions", "Clusters", "cluster_particles", "find_clusters"]
