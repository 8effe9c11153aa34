"""The particle in an average: its centre of mass and its extent."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
NOISE_LEVEL = 3.0
"""Standard deviations of the average's noise above which density counts."""
PEAK_LEVEL = 0.1
"""Fraction of the average's maximum above which density counts."""
EXTENT_MASS = 0.8
"""Fraction of the mass inside the extent; of a ball it is at 0.93 of the radius, of a thin shell at the radius."""
MARGIN = 1.25
"""Radius of the sphere in which the density counts, over that of the extent: a particle inside it keeps its size, and a
sphere inside a particle grows."""
STEPS = 30
AGREEMENT = 0.15
"""Largest distance between the centres of the two half-maps, as a fraction of the extent."""


@dataclass(frozen=True)
class Body:
    """The particle in an average.

    Attributes
    ----------
    centre
        (3,) x, y, z of the centre of mass, voxels from the box's centre.
    extent
        Diameter of the sphere about it that contains 80 % of the mass, voxels.
    """

    centre: FloatArray
    extent: float


def find_body(half_maps: list[Tensor], near: Tensor, radius_voxels: float) -> Body | None:
    """Return the particle in the average of two half-maps, if both half-maps agree about its centre.

    The density above the noise in a sphere gives a centre of mass and an extent, which give the next sphere, until the
    sphere holds the particle and nothing else: a particle that was picked on one of its parts reaches beyond the first one,
    and a neighbour beside the particle does not belong to it.

    Parameters
    ----------
    half_maps
        Two superposed (z, y, x) maps, low-pass filtered.
    near
        (3,) x, y, z voxels from the box's centre: centre of the first sphere.
    radius_voxels
        Radius of the first sphere.

    Returns
    -------
    None if nothing is above the noise, or if the half-maps' centres differ by more than 15 % of the extent.
    """
    halves = [volume.detach().cpu().double().numpy() for volume in half_maps]
    average = (halves[0] + halves[1]) / 2
    noise = float((halves[0] - halves[1]).std()) / 2
    here, radius = near.detach().cpu().double().numpy(), radius_voxels
    places = _places(average.shape[0])
    mass = _mass(average, noise)
    body = None
    for _ in range(STEPS):
        body = _measured(mass, places, here, radius)
        if body is None:
            return None
        moved = float(np.linalg.norm(body.centre - here))
        here = body.centre
        radius = float(np.clip(MARGIN * body.extent / 2, radius_voxels / 2, average.shape[0] / 2 - 2))
        if moved < 0.02:
            break
    of_halves = [_measured(_mass(half, noise * np.sqrt(2)), places, here, radius) for half in halves]
    if body is None or of_halves[0] is None or of_halves[1] is None:
        return None
    apart = float(np.linalg.norm(of_halves[0].centre - of_halves[1].centre))
    if not apart <= max(1.0, AGREEMENT * body.extent):
        logger.warning("the half-maps' centres of mass differ by %.1f voxels: not recentred", apart)
        return None
    return body


def _places(box: int) -> FloatArray:
    """Return (z, y, x, 3) the x, y, z positions of the voxels from the box's centre."""
    axis = np.arange(box, dtype=np.float64) - box // 2
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij")[::-1], axis=-1)


def _mass(volume: FloatArray, noise: float) -> FloatArray:
    """Return the density over the background where it is above the noise, elsewhere 0."""
    density = volume - float(np.median(volume))
    level = max(NOISE_LEVEL * noise, PEAK_LEVEL * float(density.max()))
    return np.where(density > level, density, 0.0)


def _measured(mass: FloatArray, places: FloatArray, near: FloatArray, radius: float) -> Body | None:
    """Return centre and extent of the mass in a sphere; None if there is none."""
    inside = np.linalg.norm(places - near, axis=-1) <= radius
    weights, points = mass[inside], places[inside]
    total = float(weights.sum())
    if not total > 0:
        return None
    centre = weights @ points / total
    radii = np.linalg.norm(points - centre, axis=-1)
    order = np.argsort(radii, kind="stable")
    reached = min(int(np.searchsorted(np.cumsum(weights[order]), EXTENT_MASS * total)), len(order) - 1)
    return Body(centre, 2 * float(radii[order][reached]))
