"""Errors of aligned poses against true ones.

The orientation and the centre of an average are arbitrary. The rotation and the shift between average and true
map are therefore estimated from the poses, robustly, and removed before errors are measured. A pose is the
rotation from the reference to the particle, and the particle's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

SAMPLE = 400
"""Particles whose rotations are tried as the common rotation; enough for a few per cent of inliers."""
INLIER_DEGREES = 20.0
"""Largest distance of an inlier from the common rotation."""


@dataclass(frozen=True)
class PoseErrors:
    """Errors of n poses.

    Attributes
    ----------
    rotation
        From the true map to the average, estimated from the poses.
    centre
        Position of the true map's centre in the average, relative to the average's, (3,) xyz, angstrom.
    degrees
        Angle between each pose and the true one after `rotation` is removed, smallest over the symmetry, (n,).
    shifts
        Distance of each aligned centre from the true one after `centre` is removed, (n,), angstrom.
    """

    rotation: Rotation
    centre: np.ndarray
    degrees: np.ndarray
    shifts: np.ndarray


def score_poses(
    found: Rotation,
    truth: Rotation,
    found_centres: np.ndarray,
    true_centres: np.ndarray,
    symmetry: Rotation | None = None,
) -> PoseErrors:
    """Measure angular and shift errors of one cluster's poses, apart from a common rotation and shift.

    Parameters
    ----------
    found, truth
        n rotations each, from the average and from the true map to the particle.
    found_centres, true_centres
        (n, 3) xyz, angstrom.
    symmetry
        Rotations of the true map's point group, with the identity; None for no symmetry.

    Raises
    ------
    ValueError
        If there are no poses.
    """
    if not len(found_centres):
        raise ValueError("no poses to score")
    if symmetry is None:
        symmetry = Rotation.identity(1)
    relative = found.inv() * truth
    common = common_rotation(relative, symmetry)
    degrees = _degrees(relative, common, symmetry)
    offsets = found.inv().apply(np.asarray(true_centres, float) - np.asarray(found_centres, float))
    inliers = degrees <= max(INLIER_DEGREES, float(np.median(degrees)))
    centre = np.median(offsets[inliers], axis=0)
    return PoseErrors(common, centre, degrees, np.linalg.norm(offsets - centre, axis=1))


def common_rotation(rotations: Rotation, symmetry: Rotation) -> Rotation:
    """Return the rotation with most of `rotations` near it, modulo `symmetry` on their right.

    It is initialised with the rotation that has the most others within `INLIER_DEGREES`, and refined as the mean
    of these inliers. Misaligned particles are distributed over all rotations and have little effect.
    """
    count = len(rotations)
    sample = rotations[np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)]
    support = [np.sum(_degrees(sample, candidate, symmetry) <= INLIER_DEGREES) for candidate in sample]
    common = sample[int(np.argmax(support))]
    for _ in range(5):
        near = _nearest(rotations, common, symmetry)
        inliers = np.degrees((near * common.inv()).magnitude()) <= INLIER_DEGREES
        common = near[inliers].mean()
    return common


def _nearest(rotations: Rotation, centre: Rotation, symmetry: Rotation) -> Rotation:
    """Return each of `rotations` times the symmetry operation that brings it nearest to `centre`."""
    copies = np.stack([(rotations * operation).as_quat() for operation in symmetry])
    closeness = np.abs(copies @ centre.as_quat())
    return Rotation.from_quat(copies[np.argmax(closeness, axis=0), np.arange(copies.shape[1])])


def _degrees(rotations: Rotation, centre: Rotation, symmetry: Rotation) -> np.ndarray:
    return np.degrees((_nearest(rotations, centre, symmetry) * centre.inv()).magnitude())
