"""Densities of lipid bilayers and gold beads."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import SimulationError

FloatArray = NDArray[np.float64]

_LEAFLET_OFFSET = 18.0
"""Angstrom from a bilayer's middle to the densest plane of either leaflet."""
_LEAFLET_WIDTH = 7.0
"""Angstrom; standard deviation of a leaflet's dense layer."""
_LEAFLET_DENSITY = 1.3
"""Peak density of head groups relative to ice, in units of the density of solid protein."""
_GOLD_RADIUS = 50.0
_GOLD_DENSITY = 12.0
_CLEARANCE = 35.0
"""Angstrom; distance from a bilayer's middle within which no particle is placed."""
_TRIALS = 60


def bilayer_profile(distance: FloatArray, resolution: float) -> FloatArray:
    """Return the density at a distance (angstrom) from a bilayer's middle, blurred to `resolution`.

    The profile is two dense layers of head groups; the tails between them have about the density of ice. The blur
    is a Gaussian with a gain of 0.03 at the band limit.
    """
    blur = math.sqrt(2 * math.log(1 / 0.03)) / (2 * math.pi) * resolution
    width = math.hypot(_LEAFLET_WIDTH, blur)
    height = _LEAFLET_DENSITY * _LEAFLET_WIDTH / width
    leaflets = [np.exp(-0.5 * ((distance + side * _LEAFLET_OFFSET) / width) ** 2) for side in (-1, 1)]
    return np.asarray(height * (leaflets[0] + leaflets[1]))


def add_membranes(
    density: NDArray[np.float32],
    vesicles: int,
    sheets: int,
    voxel_size: float,
    resolution: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Add membranes that do not intersect to a slab (z, y, x), in place.

    Parameters
    ----------
    density
        The slab.
    vesicles, sheets
        Number of vesicles and of sheets.
    voxel_size, resolution
        Angstrom.
    rng
        Source of randomness.

    Returns
    -------
    (z, y, x) whether each voxel is reserved for membranes.

    Raises
    ------
    SimulationError
        If the membranes do not fit.
    """
    surface = np.zeros(density.shape, dtype=bool)
    shapes = [_sheet] * sheets + [_vesicle] * vesicles
    for draw in shapes:
        for _ in range(_TRIALS):
            window, distance = draw(density.shape, voxel_size, rng)
            near = np.abs(distance) < _CLEARANCE
            if near.any() and not (surface[window] & near).any():
                density[window] += bilayer_profile(distance, resolution).astype(np.float32)
                surface[window] |= near
                break
        else:
            raise SimulationError(
                f"{vesicles} vesicles and {sheets} sheets do not fit into the tomogram",
                remedy="lower `vesicles` or `sheets`, or raise `size`",
            )
    return surface


def _vesicle(
    shape: tuple[int, ...], voxel_size: float, rng: np.random.Generator
) -> tuple[tuple[slice, ...], FloatArray]:
    """Return a window of the slab and the distance (angstrom) from a random ellipsoid, which may be cut by the faces."""
    size = np.array(shape)
    largest = max(300.0, 0.28 * float(size[1:].min()) * voxel_size)
    semi_axes = rng.uniform(250.0, largest) * rng.uniform(0.9, 1.1, 3) / voxel_size
    centre = rng.uniform(0.1, 0.9, 3) * size
    low = np.maximum(0, np.floor(centre - semi_axes - 8)).astype(int)
    high = np.minimum(size, np.ceil(centre + semi_axes + 8)).astype(int)
    window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grids = np.ogrid[window]
    scaled = np.sqrt(sum(((g - c) / a) ** 2 for g, c, a in zip(grids, centre, semi_axes, strict=True)))
    return window, np.asarray((scaled - 1) * float(semi_axes.mean()) * voxel_size)


def _sheet(
    shape: tuple[int, ...], voxel_size: float, rng: np.random.Generator
) -> tuple[tuple[slice, ...], FloatArray]:
    """Return the whole slab as window and the distance (angstrom) from a steep, slightly undulating membrane."""
    window = tuple(slice(0, n) for n in shape)
    z, y, x = (g.astype(np.float64) for g in np.ogrid[window])
    centre = rng.uniform(0.2, 0.8, 3) * np.array(shape)
    azimuth, lean = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    along = (y - centre[1]) * math.cos(azimuth) - (x - centre[2]) * math.sin(azimuth)
    across = (x - centre[2]) * math.cos(azimuth) + (y - centre[1]) * math.sin(azimuth)
    across = across + (z - centre[0]) * math.tan(lean)
    length, height = rng.uniform(600, 1500) / voxel_size, rng.uniform(10, 40) / voxel_size
    wave = height * np.sin(2 * np.pi * (along / length + rng.uniform()))
    return window, np.asarray((across - wave) * math.cos(lean) * voxel_size)


def gold_bead(voxel_size: float, resolution: float) -> NDArray[np.float32]:
    """Return the density (z, y, x) of a bead of 10 nm centred at voxel n // 2, its edge blurred to `resolution`."""
    half = math.ceil((_GOLD_RADIUS + resolution) / voxel_size)
    axis = np.arange(-half, half + 1) * voxel_size
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    edge = np.clip((_GOLD_RADIUS - radius) / (0.25 * resolution), -30, 30)
    return np.asarray(_GOLD_DENSITY / (1 + np.exp(-edge)), dtype=np.float32)
