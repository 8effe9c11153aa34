"""Errors of aligned poses against true ones.

An average is known only up to a turn and a shift of its own: nothing says that it should stand as the
true map stands. Both are found from the poses themselves, robustly, and taken out before errors are
measured. A pose is a rotation that turns the reference into the particle, and the particle's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

SAMPLE = 400
"""Particles among which the common turn is sought; enough for an inlier share of a few per cent."""
INLIER_DEGREES = 20.0


@dataclass(frozen=True)
class PoseErrors:
    """Errors of n poses.

    Attributes
    ----------
    turn
        Rotation that turns the true map into the average, as found from the poses.
    centre
        Position of the true map's centre in the average, relative to the average's, (3,) xyz, angstrom.
    degrees
        Angle between each pose and its true one after `turn` is taken out, smallest over the symmetry, (n,).
    shifts
        Distance of each aligned centre from the true one after `centre` is taken out, (n,), angstrom.
    """

    turn: Rotation
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
    """Measure angular and shift errors of one cluster's poses, apart from a common turn and shift.

    Parameters
    ----------
    found, truth
        n rotations each, which turn the average and the true map into the particle.
    found_centres, true_centres
        (n, 3) xyz, angstrom.
    symmetry
        Rotations that leave the true map as it is, the identity among them; None for no symmetry.

    Raises
    ------
    ValueError
        Where there are no poses.
    """
    if not len(found_centres):
        raise ValueError("no poses to score")
    if symmetry is None:
        symmetry = Rotation.identity(1)
    turns = found.inv() * truth
    turn = common_turn(turns, symmetry)
    residues = _nearest(turns, turn, symmetry)
    degrees = np.degrees((residues * turn.inv()).magnitude())
    offsets = found.inv().apply(np.asarray(true_centres, float) - np.asarray(found_centres, float))
    inliers = degrees <= max(INLIER_DEGREES, float(np.median(degrees)))
    centre = np.median(offsets[inliers], axis=0)
    return PoseErrors(turn, centre, degrees, np.linalg.norm(offsets - centre, axis=1))


def common_turn(turns: Rotation, symmetry: Rotation) -> Rotation:
    """Return the rotation about which most of `turns` lie, modulo `symmetry` on their right.

    The start is the turn with the most others within `INLIER_DEGREES`; the mean of those refines it.
    Misaligned particles, however many, are spread over all rotations and do not move it.
    """
    count = len(turns)
    sample = turns[np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)]
    support = [np.sum(_degrees(sample, candidate, symmetry) <= INLIER_DEGREES) for candidate in sample]
    turn = sample[int(np.argmax(support))]
    for _ in range(5):
        near = _nearest(turns, turn, symmetry)
        inliers = np.degrees((near * turn.inv()).magnitude()) <= INLIER_DEGREES
        turn = near[inliers].mean()
    return turn


def _nearest(turns: Rotation, centre: Rotation, symmetry: Rotation) -> Rotation:
    """Return each of `turns` times the symmetry operation that brings it nearest to `centre`."""
    copies = np.stack([(turns * operation).as_quat() for operation in symmetry])
    closeness = np.abs(copies @ centre.as_quat())
    return Rotation.from_quat(copies[np.argmax(closeness, axis=0), np.arange(copies.shape[1])])


def _degrees(turns: Rotation, centre: Rotation, symmetry: Rotation) -> np.ndarray:
    return np.degrees((_nearest(turns, centre, symmetry) * centre.inv()).magnitude())
