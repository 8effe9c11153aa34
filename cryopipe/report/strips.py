"""Strips of a tomogram's sections: evenly spaced sections below each other in one JPEG, for the page's slider."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cryopipe.files.opening import release_pages

LARGEST_EDGE, SMALLEST_EDGE = 560, 192
"""Pixels of a section's longer edge."""
MOST_SECTIONS = 48
"""Largest number of sections in a strip."""
TALLEST = 8192
"""Pixels of a strip's height; graphics cards shrink taller pictures."""
_BYTES_PER_PIXEL = 0.16
"""Size of a JPEG of smoothed sections, about."""
_XY_FRACTION = 0.65
"""Part of the bytes for the sections xy; the rest is for xz."""


@dataclass(frozen=True)
class Strip:
    """Sections of one plane, from top to bottom.

    Attributes
    ----------
    data
        The JPEG in base64.
    width, height
        Pixels of one section.
    sections
        Index of each section along the third axis: z for the plane xy, y for xz.
    voxels
        Width and height of the sections in voxels of the tomogram.
    """

    data: str
    width: int
    height: int
    sections: list[int]
    voxels: tuple[int, int]


def tomogram_strips(
    volume: np.ndarray, positions: np.ndarray, radii: np.ndarray, limit: int
) -> dict[str, Strip]:
    """Return strips of sections xy (x to the right, y down) and xz (x to the right, z down).

    To reduce noise, neighbouring sections are averaged (a fifth of the median diameter in all) and the result is
    smoothed by a Gaussian much smaller than a particle. The sections cover the part of the tomogram with particles.

    Parameters
    ----------
    volume
        (z, y, x), may be a memory map; only the averaged sections are read.
    positions
        (n, 3) xyz, voxels.
    radii
        (n,) voxels.
    limit
        Size of both strips, bytes, about.
    """
    positions = np.asarray(positions, float).reshape(-1, 3)
    radius = float(np.median(radii)) if len(radii) else 3.0
    strips = {}
    for plane, axis, part in (("xy", 0, _XY_FRACTION), ("xz", 1, 1 - _XY_FRACTION)):
        along = positions[:, 2 - axis]
        strips[plane] = _strip(volume, axis, along, radius, part * limit)
    return strips


def _strip(volume: np.ndarray, axis: int, along: np.ndarray, radius: float, limit: float) -> Strip:
    rows, width = (n for i, n in enumerate(volume.shape) if i != axis)
    pixels = limit / _BYTES_PER_PIXEL
    aspect = min(rows, width) / max(rows, width)
    edge = int(np.clip(math.sqrt(pixels / aspect / 14), SMALLEST_EDGE, LARGEST_EDGE))
    factor = min(1.0, edge / max(rows, width))
    size = max(1, round(width * factor)), max(1, round(rows * factor))
    count = int(np.clip(pixels / (size[0] * size[1]), 1, min(MOST_SECTIONS, TALLEST // size[1])))
    sections = chosen_sections(volume.shape[axis], along, radius, count)
    half = max(int(radius / 5), 0 if volume.shape[axis] < 3 else 1)
    pictures = np.stack([_section(volume, axis, section, half, radius, size) for section in sections])
    bottom, top = np.percentile(pictures, [1, 99])
    scaled = (
        np.clip((pictures - bottom) / (top - bottom), 0, 1) if top > bottom else np.full_like(pictures, 0.5)
    )
    strip = (scaled * 255).astype(np.uint8).reshape(-1, size[0])
    return Strip(jpeg(strip, limit), size[0], size[1], sections, (width, rows))


def chosen_sections(depth: int, along: np.ndarray, radius: float, count: int) -> list[int]:
    """Return at most `count` evenly spaced section indices that cover the particles, or all of the depth without any.

    Parameters
    ----------
    depth
        Number of sections of the tomogram.
    along
        (n,) positions of the particles along this axis, voxels.
    radius
        Voxels; sections are not closer than a quarter of it.
    """
    low, high = (0, depth - 1)
    if len(along):
        bounds = np.percentile(along, [0.5, 99.5])
        low, high = (int(np.clip(round(value), 0, depth - 1)) for value in bounds)
    step = max(1, int(radius / 4), math.ceil((high - low + 1) / count))
    number = (high - low) // step
    first = low + (high - low - number * step) // 2
    return [first + i * step for i in range(number + 1)][:count]


def _section(
    volume: np.ndarray, axis: int, index: int, half: int, radius: float, size: tuple[int, int]
) -> np.ndarray:
    around = slice(max(0, index - half), index + half + 1)
    part = volume[around] if axis == 0 else volume[:, around]
    plane = np.nan_to_num(np.asarray(part, np.float32).mean(axis=axis))
    release_pages(volume)
    smooth = gaussian_filter(plane, min(1.5, radius / 6))
    return np.asarray(Image.fromarray(smooth).resize(size, Image.Resampling.BOX), np.float32)


def jpeg(picture: np.ndarray, limit: float = math.inf) -> str:
    """Return an 8-bit grey picture (y, x) as JPEG in base64, of a lower quality where it exceeds `limit` bytes."""
    content = b""
    for quality in (72, 55, 40, 25, 12):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
        content = stream.getvalue()
        if len(content) <= limit:
            break
    return base64.b64encode(content).decode("ascii")
