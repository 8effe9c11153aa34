"""Volumes and rotations: arrays in, arrays out.

Volumes are torch tensors with axes (z, y, x), batch axes first; the centre of n voxels is n // 2.
Vectors are x, y, z. A rotation is a scipy `Rotation` that turns the reference into the particle.
"""
