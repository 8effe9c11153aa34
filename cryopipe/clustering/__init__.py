"""Clustering of particles by Gaussian mixtures: number of clusters, labels, posteriors, unassigned particles."""

from cryopipe.clustering.cluster_table import cluster_particles
from cryopipe.clustering.clusters import Clusters, find_clusters
from cryopipe.clustering.options import ClusteringOptions

__all__ = ["ClusteringOptions", "Clusters", "cluster_particles", "find_clusters"]
