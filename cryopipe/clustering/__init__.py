"""Clusters of particles, their number, their noise class and their posteriors."""

from cryopipe.clustering.clusters import Clusters, find_clusters
from cryopipe.clustering.options import ClusteringOptions
from cryopipe.clustering.particles import cluster_particles

__all__ = ["ClusteringOptions", "Clusters", "cluster_particles", "find_clusters"]
