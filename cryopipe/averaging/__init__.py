"""Alignment and averages of a cluster's boxes, without a template."""
