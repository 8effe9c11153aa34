"""Scores of picks, clusters, poses and averages against known truth."""
