"""Gaussian mixtures, principal components, separation of clusters, and matching of labels."""
