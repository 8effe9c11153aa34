"""Scores of picks, clusters, poses and averages against ground truth."""
