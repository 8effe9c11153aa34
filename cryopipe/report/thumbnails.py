"""Thumbnails of particles: the three central sections of each in its tomogram, one JPEG per tomogram."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cryopipe.files.opening import release_pages
from cryopipe.report.pictures import grey
from cryopipe.report.strips import jpeg

TILE = 32
"""Pixels of one section."""
ACROSS = 24
"""Particles in a row of the picture."""
MARGIN = 1.5
"""Width of a thumbnail in diameters of its particle."""
FIRST = 12
"""Best, middle and worst members of each cluster that have a thumbnail before all others, each."""


def chosen_particles(classes: np.ndarray, scores: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Return the indices of the particles with a thumbnail, ascending.

    All if there are at most `limit`; otherwise the best, middle and worst of each cluster and a random choice of the
    others.

    Parameters
    ----------
    classes
        (n,) cluster of each particle.
    scores
        (n,) by which members are ordered; NaN is lowest.
    """
    count = len(classes)
    if count <= limit:
        return np.arange(count)
    random = np.random.default_rng(seed).random(count)
    first = np.zeros(count, bool)
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        order = members[np.argsort(-np.nan_to_num(scores[members], nan=-np.inf), kind="stable")]
        middle = max(0, len(order) // 2 - FIRST // 2)
        for part in (order[:FIRST], order[middle : middle + FIRST], order[-FIRST:]):
            first[part] = True
    return np.sort(np.lexsort((random, ~first))[:limit])


def draw_thumbnails(volume: np.ndarray, positions: np.ndarray, radii: np.ndarray) -> str:
    """Draw the central sections of particles, averaged over a fifth of the diameter.

    Parameters
    ----------
    volume
        (z, y, x), may be a memory map.
    positions, radii
        (n, 3) xyz and (n,), voxels.

    Returns
    -------
    JPEG in base64: rows of `ACROSS` particles, each with its sections xy, xz and yz from left to right; yz shows y to
    the right. Empty without particles.
    """
    rows = -(-len(positions) // ACROSS)
    if not rows:
        return ""
    sheet = np.full((rows * TILE, ACROSS * 3 * TILE), 128, np.uint8)
    for place, (position, radius) in enumerate(zip(positions, radii, strict=True)):
        row, column = divmod(place, ACROSS)
        if column == 0:
            release_pages(volume)
        tile = _three_sections(volume, position, float(radius))
        top, left = row * TILE, column * 3 * TILE
        sheet[top : top + TILE, left : left + 3 * TILE] = tile
    release_pages(volume)
    return jpeg(sheet)


def _three_sections(volume: np.ndarray, position: np.ndarray, radius: float) -> np.ndarray:
    half = max(2, round(radius * MARGIN))
    centre = np.round(position[::-1]).astype(int)  # z, y, x
    box = _cut(volume, centre, half)
    thick = int(radius / 5)
    slab = slice(half - thick, half + thick + 1)
    sections = [box[slab].mean(axis=0), box[:, slab].mean(axis=1), box[:, :, slab].mean(axis=2)]
    smooth = [gaussian_filter(section, min(1.5, radius / 6)) for section in sections]
    picture = grey(np.concatenate(smooth, axis=1), 0.5, 99.5)
    edge = 2 * half + 1
    tiles = [Image.fromarray(picture[:, i * edge : (i + 1) * edge]).resize((TILE, TILE)) for i in range(3)]
    return np.concatenate([np.asarray(tile) for tile in tiles], axis=1)


def _cut(volume: np.ndarray, centre: np.ndarray, half: int) -> np.ndarray:
    """Return the cube of 2 * half + 1 voxels about `centre` (z, y, x); the mean is outside the volume."""
    low, high = centre - half, centre + half + 1
    inside = tuple(
        slice(max(0, a), max(0, min(b, n))) for a, b, n in zip(low, high, volume.shape, strict=True)
    )
    part = np.nan_to_num(np.asarray(volume[inside], np.float32))
    box = np.full((2 * half + 1,) * 3, part.mean() if part.size else 0.0, np.float32)
    place = tuple(
        slice(s.start - a, s.start - a + n) for s, a, n in zip(inside, low, part.shape, strict=True)
    )
    if part.size:
        box[place] = part
    return box
