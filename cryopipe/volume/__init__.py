"""Numerical operations on volumes and rotations; nothing here reads or writes files.

Volumes are torch tensors with axes (z, y, x), batch axes first; the centre of n voxels is n // 2.
Vectors are x, y, z. A rotation is a scipy `Rotation` from the reference to the particle (active).
"""
