"""Masked density of an average for the page's isosurface, which is drawn in the browser."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, label, map_coordinates

from cryopipe.report.isosurface import contour_level, object_radius
from cryopipe.report.payload import typed_array

FIELD = 40
"""Edge in voxels of the field that the page contains."""
_LEVELS = 8
"""Levels tried, upwards, until the central object is apart from its neighbours."""
_WITHIN = 0.84
"""Largest extent of an object that is apart from its neighbours, in half boxes."""


def central_object(volume: np.ndarray, level: float) -> np.ndarray:
    """Return a map without the density of neighbours: voxels nearer to them than to the central object are background.

    The objects are the connected parts above the lowest level, from `level` upwards, at which the central one does not
    reach the border of the box. The central one has the largest sum of density weighted by a Gaussian about the
    centre; parts with a centre inside its radius belong to it.

    Parameters
    ----------
    volume
        (z, y, x), particles bright.
    level
        Density of the surface.

    Returns
    -------
    (z, y, x); neighbours have the median of the map.
    """
    volume = np.asarray(volume, np.float32)
    grid = np.indices(volume.shape) - (np.array(volume.shape) // 2).reshape(3, 1, 1, 1)
    distance = np.sqrt(np.sum(grid**2, axis=0))
    half = min(volume.shape) / 2
    parts, kept = np.zeros(volume.shape, int), {0}
    for step in np.linspace(level, level + 0.6 * max(float(volume.max()) - level, 0), _LEVELS):
        found, count = label(volume >= step)
        if not count:
            break
        chosen, reach = _central_parts(volume - step, found, count, distance, half)
        if not parts.any() or reach <= _WITHIN * half:
            parts, kept = found, chosen
        if reach <= _WITHIN * half:
            break
    if len(kept) == parts.max() or not parts.any():
        return volume
    nearest = distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    own = np.isin(parts[tuple(nearest)], list(kept))
    return np.where(own, volume, np.minimum(volume, np.median(volume)))


def _central_parts(
    excess: np.ndarray, parts: np.ndarray, count: int, distance: np.ndarray, half: float
) -> tuple[set[int], float]:
    """Return the numbers of the parts of the central object, and its radius in voxels."""
    weight = np.maximum(excess, 0) * np.exp(-0.5 * (distance / (0.4 * half)) ** 2)
    sums = np.bincount(parts.ravel(), weight.ravel(), count + 1)
    main = int(np.argmax(sums[1:])) + 1
    reach = float(np.percentile(distance[parts == main], 99))
    sizes = np.maximum(np.bincount(parts.ravel(), minlength=count + 1), 1)
    centres = np.bincount(parts.ravel(), distance.ravel(), count + 1) / sizes
    return {main, *(n for n in range(1, count + 1) if centres[n] < reach)}, reach


def surface_field(volume: np.ndarray, voxel_size: float, colour: str) -> tuple[dict[str, Any] | None, str]:
    """Return what the page needs to draw a map's isosurface, and the width of the picture as text; None for a flat map.

    Parameters
    ----------
    volume
        (z, y, x), particles bright.
    voxel_size
        Angstrom.
    colour
        #RRGGBB.

    Returns
    -------
    `volume` (FIELD cubed, uint8 in base64, x fastest), `size`, `low` and `high` (the densities of 0 and 255), `level`
    (0 to 255) and `colour`.
    """
    level = contour_level(volume)
    if not np.isfinite(level):
        return None, ""
    masked = central_object(volume, level)
    level = contour_level(masked) if np.isfinite(contour_level(masked)) else level
    reach = object_radius(masked, level)
    steps = np.linspace(-reach, reach, FIELD)
    centre = np.array(masked.shape) // 2
    points = np.stack(np.meshgrid(*(c + steps for c in centre), indexing="ij"))
    field = map_coordinates(masked, points, order=3, mode="nearest")
    low, high = float(np.median(masked)), float(field.max())
    stored = np.clip((field - low) / max(high - low, 1e-9) * 255, 0, 255).round().astype(np.uint8)
    shown = float(np.clip((level - low) / max(high - low, 1e-9) * 255, 1, 254))
    description = {
        **{"volume": typed_array(stored), "size": FIELD, "low": low, "high": high},
        **{"level": round(shown), "colour": colour},
    }
    return description, f"{2 * reach * voxel_size / 10:.0f} nm"
