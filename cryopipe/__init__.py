"""cryopipe."""
