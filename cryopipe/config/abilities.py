"""What the learners can do beyond features, for the Snakefile, which does not import them."""

from __future__ import annotations

DECODING_LEARNERS = frozenset({"affinity", "autoencoder"})
"""Learners that reconstruct boxes from features; their clusters are decoded to maps."""
