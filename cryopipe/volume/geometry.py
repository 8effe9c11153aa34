"""Rotations: RELION's angles, random rotations, grids over SO(3), point groups, angular distances."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.errors import ConfigError

FloatArray = NDArray[np.float64]

_COVERING_CONSTANT = 232.0
"""A grid of N rotations covers SO(3) to about 232 / N^(1/3) degrees (measured at N from 300 to 50,000)."""


def relion_angles(rotation: Rotation) -> FloatArray:
    """Return RELION's Rot, Tilt and Psi.

    Parameters
    ----------
    rotation
        n active rotations (or a single one) from the reference to the particle, on xyz vectors.

    Returns
    -------
    (n, 3) degrees; Rot and Psi in [-180, 180], Tilt in [0, 180].
    """
    with warnings.catch_warnings():
        # At Tilt 0 or 180 only Rot + Psi matters; scipy then sets one of them to 0 and warns.
        warnings.filterwarnings("ignore", message="Gimbal lock", category=UserWarning)
        angles = rotation.inv().as_euler("ZYZ", degrees=True)
    return np.asarray(np.atleast_2d(angles), dtype=np.float64)


def rotation_from_relion_angles(angles: FloatArray) -> Rotation:
    """Return the active rotations, reference to particle, of RELION's angles.

    Parameters
    ----------
    angles
        (n, 3) Rot, Tilt, Psi in degrees.
    """
    angles = np.asarray(angles, dtype=np.float64).reshape(-1, 3)
    return Rotation.from_euler("ZYZ", angles, degrees=True).inv()


def random_rotations(count: int, rng: np.random.Generator) -> Rotation:
    """Draw `count` rotations uniformly from SO(3).

    Normal draws give quaternions that are uniform on the 3-sphere, and so rotations that are uniform
    under the Haar measure; uniform Euler angles would not be.
    """
    return Rotation.from_quat(rng.standard_normal((count, 4)))


def rotation_grid(angle_degrees: float, symmetry: str = "C1") -> Rotation:
    """Return a super-Fibonacci grid that comes within `angle_degrees` of every rotation.

    Parameters
    ----------
    angle_degrees
        Covering radius in degrees.
    symmetry
        Point group of the reference; of equivalent rotations only one is kept.

    Returns
    -------
    The rotations; their number grows as the third power of 1 / `angle_degrees`.

    Notes
    -----
    Alexa, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)", CVPR 2022.
    """
    if not 0 < angle_degrees <= 180:
        raise ValueError(f"angle_degrees is {angle_degrees}; it must lie between 0 and 180")
    count = max(24, math.ceil((_COVERING_CONSTANT / angle_degrees) ** 3))
    phi, psi = math.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(count) + 0.5
    inner, outer = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    quaternions = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], axis=1
    )
    grid = Rotation.from_quat(quaternions)
    group = symmetry_rotations(symmetry)
    if len(group) == 1:
        return grid
    own = grid.magnitude()
    nearest = np.min([(grid * element).magnitude() for element in group], axis=0)
    # A margin of half the spacing keeps the region's border covered from both sides.
    return grid[own <= nearest + np.radians(angle_degrees) / 2]


def symmetry_rotations(symmetry: str) -> Rotation:
    """Return the rotations of a point group, identity first, in RELION's convention of axes.

    Parameters
    ----------
    symmetry
        C1, C2, ..., D1, D2, ..., T or O. Cn and Dn have their n-fold axis on z, Dn a two-fold axis on x,
        T a three-fold axis on z, O four-fold axes on x, y and z.

    Raises
    ------
    ConfigError
        If `symmetry` is none of these.
    """
    name = symmetry.strip().upper()
    match = re.fullmatch(r"([CD])([1-9][0-9]{0,2})|[TO]", name)
    if match is None:
        raise ConfigError(f"symmetry {symmetry!r} is unknown", remedy="use C1, C2, ..., D1, D2, ..., T or O")
    if name == "T":
        generators = [
            _axis_rotation(3, (0, 0, 1)),
            _axis_rotation(2, (0, math.sqrt(2 / 3), math.sqrt(1 / 3))),
        ]
    elif name == "O":
        generators = [_axis_rotation(3, (1, 1, 1)), _axis_rotation(4, (0, 0, 1))]
    else:
        generators = [_axis_rotation(int(match.group(2)), (0, 0, 1))]
        if match.group(1) == "D":
            generators.append(_axis_rotation(2, (1, 0, 0)))
    return _closure(generators)


def angular_distance(a: Rotation, b: Rotation, symmetry: str = "C1") -> FloatArray:
    """Return the angle between rotations, the smallest over a reference's symmetry.

    Parameters
    ----------
    a, b
        n rotations each (or one against n), reference to particle.
    symmetry
        Point group of the reference.

    Returns
    -------
    (n,) degrees.
    """
    between = np.stack(
        [np.atleast_1d((a * element * b.inv()).magnitude()) for element in symmetry_rotations(symmetry)]
    )
    return np.degrees(between.min(axis=0))


def _axis_rotation(fold: int, axis: tuple[float, float, float]) -> Rotation:
    direction = np.asarray(axis, dtype=np.float64)
    return Rotation.from_rotvec(2 * np.pi / fold * direction / np.linalg.norm(direction))


def _closure(generators: list[Rotation]) -> Rotation:
    """Return all products of the generators."""
    found = [Rotation.identity()]
    waiting = list(found)
    while waiting:
        element = waiting.pop()
        for generator in generators:
            product = generator * element
            if min((product * known.inv()).magnitude() for known in found) > 1e-6:
                found.append(product)
                waiting.append(product)
    return Rotation.from_quat(np.stack([element.as_quat() for element in found]))
