"""Learners, one per module; listed in `cryopipe.features.register`."""
