"""Comparison of boxes and volumes with references: Fourier bands, searches over poses, template matching."""
