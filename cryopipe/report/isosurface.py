"""Shaded pictures of a map's isosurface by ray casting.

Each ray finds the first crossing of the level; the gradient there is the normal. A triangle mesh
(`skimage.measure.marching_cubes`) would need a renderer that works without a display, which no dependency has.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates, zoom
from scipy.spatial.transform import Rotation
from skimage.filters import threshold_otsu

PIXELS = 240
STEPS = 120
_WORKING_BOX = 72
_LIGHT = np.array([-0.45, -0.55, -0.70])
VIEWS = (
    ("front", Rotation.identity()),
    ("90° about y", Rotation.from_euler("y", 90, degrees=True)),
    ("90° about x", Rotation.from_euler("x", 90, degrees=True)),
)


def contour_level(volume: np.ndarray) -> float:
    """Return Otsu's threshold of a map's values inside the inscribed sphere."""
    box = min(volume.shape)
    grid = np.indices(volume.shape) - (np.array(volume.shape) // 2).reshape(3, 1, 1, 1)
    inside = np.asarray(volume)[np.sum(grid**2, axis=0) < (box / 2 - 1) ** 2]
    return float(threshold_otsu(inside)) if np.ptp(inside) > 0 else float("inf")


def object_radius(volume: np.ndarray, level: float) -> float:
    """Return the radius, in voxels, of a sphere about the centre that contains the density above `level`.

    A few outlying voxels are ignored; the result lies between a sixth and a half of the box.
    """
    grid = np.indices(volume.shape) - (np.array(volume.shape) // 2).reshape(3, 1, 1, 1)
    distances = np.sqrt(np.sum(grid**2, axis=0))
    largest = min(volume.shape) / 2 - 1
    inside = distances[(np.asarray(volume) >= level) & (distances <= largest)]
    radius = 1.12 * float(np.percentile(inside, 99.5)) if len(inside) else largest
    return float(np.clip(radius, largest / 3, largest))


def render_isosurface(
    volume: np.ndarray, level: float, view: Rotation, reach: float, pixels: int = PIXELS
) -> np.ndarray:
    """Draw the isosurface of a map at `level`, viewed along z with x to the right and y down.

    Parameters
    ----------
    volume
        (z, y, x).
    level
        Density of the surface.
    view
        Rotation applied to the map (active, xyz).
    reach
        Radius in voxels of the sphere that is drawn; its diameter is the picture's width.
    pixels
        Edge of the picture.

    Returns
    -------
    (pixels, pixels, 4) 8-bit RGBA; transparent outside the surface.
    """
    working, scale = _enlarged(np.asarray(volume, np.float32))
    lateral = np.linspace(-reach, reach, pixels)
    depths = np.linspace(-reach, reach, STEPS)
    down, right = np.meshgrid(lateral, lateral, indexing="ij")
    field = np.empty((STEPS, pixels, pixels), np.float32)
    for i, depth in enumerate(depths):
        points = np.stack([right, down, np.full_like(right, depth)], axis=-1)
        field[i] = _sample(working, scale, volume.shape, points, view)
        field[i][right**2 + down**2 + depth**2 > reach**2] = -np.inf
    above = field >= level
    hit = above.any(axis=0)
    first = above.argmax(axis=0)
    depth = _crossing(field, first, level, depths)
    surface = np.stack([right, down, depth], axis=-1)[hit]
    brightness = _shade(working, scale, volume.shape, surface, view, reach)
    picture = np.zeros((pixels, pixels, 4), np.uint8)
    base = np.array([206, 214, 224], np.float32)
    picture[hit, :3] = np.clip(base * brightness[:, None], 0, 255).astype(np.uint8)
    picture[hit, 3] = 255
    return picture


def _enlarged(volume: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the map enlarged by cubic splines, so that subsequent linear sampling is smooth, and the scale."""
    scale = max(1.0, _WORKING_BOX / max(volume.shape))
    if scale == 1.0:
        return volume, 1.0
    return zoom(volume, scale, order=3, grid_mode=False).astype(np.float32), scale


def _sample(
    working: np.ndarray, scale: float, shape: tuple[int, ...], points: np.ndarray, view: Rotation
) -> np.ndarray:
    """Sample the map, rotated by `view`, at xyz positions relative to its centre."""
    source = points.reshape(-1, 3) @ view.as_matrix()
    centre = np.array([n // 2 for n in reversed(shape)])
    # `zoom` aligns the first and the last voxels of both grids.
    stretch = np.array(
        [(w - 1) / (n - 1) for w, n in zip(reversed(working.shape), reversed(shape), strict=True)]
    )
    position = ((source + centre) * stretch)[:, ::-1].T
    return map_coordinates(working, position, order=1, mode="nearest").reshape(points.shape[:-1])


def _crossing(field: np.ndarray, first: np.ndarray, level: float, depths: np.ndarray) -> np.ndarray:
    """Interpolate the depth of the level between the last sample below and the first above it."""
    before = np.maximum(first - 1, 0)
    high = np.take_along_axis(field, first[None], 0)[0]
    low = np.take_along_axis(field, before[None], 0)[0]
    usable = np.isfinite(low) & (high > low)
    fraction = np.ones_like(high)
    fraction[usable] = (level - low[usable]) / (high[usable] - low[usable])
    return depths[before] + np.clip(fraction, 0, 1) * (depths[first] - depths[before])


def _shade(
    working: np.ndarray,
    scale: float,
    shape: tuple[int, ...],
    surface: np.ndarray,
    view: Rotation,
    reach: float,
) -> np.ndarray:
    """Return the brightness of surface points: light from the upper left, darker with depth."""
    if not len(surface):
        return np.zeros(0)
    gradient = np.empty_like(surface)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 0.7
        ahead, behind = (_sample(working, scale, shape, surface + sign * step, view) for sign in (1, -1))
        gradient[:, axis] = behind - ahead
    normal = gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    diffuse = np.clip(normal @ light, 0, 1)
    halfway = light + np.array([0, 0, -1.0])
    gloss = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1) ** 24
    distance = 1 - 0.30 * (surface[:, 2] + reach) / (2 * reach)
    return (0.30 + 0.70 * diffuse) * distance + 0.22 * gloss
