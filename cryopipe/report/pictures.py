"""Pictures of arrays as data addresses (PNG or JPEG) for the HTML page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SLICE_PIXELS = 900
AVERAGE_PIXELS = 160


@dataclass(frozen=True)
class Spot:
    """One particle in a picture of a slice: centre and radius in pixels, and the particle's index."""

    x: float
    y: float
    radius: float
    particle: int


@dataclass(frozen=True)
class SlicePicture:
    """A slice of a tomogram with the particles that intersect it.

    Attributes
    ----------
    address
        The JPEG as a data address.
    width, height
        Pixels.
    section
        Index z of the slice in the tomogram.
    spots
        The particles' cross-sections.
    scale
        Angstrom per pixel.
    """

    address: str
    width: int
    height: int
    section: int
    spots: list[Spot]
    scale: float

    @property
    def bar(self) -> tuple[int, float]:
        """Length of the scale bar in nanometres (a round number) and pixels, at most a sixth of the width."""
        limit = self.width * self.scale / 10 / 6
        power = 10 ** np.floor(np.log10(max(limit, 1e-6)))
        length = max(step for step in (1, 2, 5) if step * power <= limit) * power
        return round(length) or 1, float(length * 10 / self.scale)


def picture_address(picture: np.ndarray, file_format: str = "PNG") -> str:
    """Return an 8-bit picture, (y, x) grey or (y, x, 4) RGBA, as a data address."""
    stream = io.BytesIO()
    settings = {"quality": 80} if file_format == "JPEG" else {"optimize": True}
    Image.fromarray(picture).save(stream, file_format, **settings)
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{file_format.lower()};base64,{content}"


def grey(values: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Return values as 8-bit grey between two percentiles; a constant array becomes middle grey."""
    values = np.nan_to_num(np.asarray(values, np.float32))
    bottom, top = np.percentile(values, [low, high])
    if top <= bottom:
        bottom, top = values.min(), values.max()
    if top <= bottom:
        return np.full(values.shape, 128, np.uint8)
    return (np.clip((values - bottom) / (top - bottom), 0, 1) * 255).astype(np.uint8)


def slice_picture(
    volume: np.ndarray, coordinates: np.ndarray, diameters: np.ndarray, voxel_size: float
) -> SlicePicture:
    """Draw the section of a tomogram that intersects the most particles.

    To reduce noise, neighbouring sections are averaged (a fifth of the median diameter in all) and the result is
    smoothed by a Gaussian much smaller than a particle. A particle is drawn as the circle in which the section
    intersects a sphere of its diameter.

    Parameters
    ----------
    volume
        (z, y, x), may be a memory map; only the averaged sections are read.
    coordinates
        (n, 3) xyz, voxels.
    diameters
        (n,) angstrom.
    voxel_size
        Angstrom.
    """
    depth, height, width = volume.shape
    coordinates = np.asarray(coordinates, float).reshape(-1, 3)
    radii = np.asarray(diameters, float).reshape(-1) / 2 / voxel_size
    section = _fullest_section(coordinates[:, 2], radii, depth)
    half = int(np.median(radii) / 5) if len(radii) else 1
    slab = np.asarray(volume[max(0, section - half) : section + half + 1], dtype=np.float32).mean(axis=0)
    if len(radii):
        slab = gaussian_filter(slab, min(1.5, float(np.median(radii)) / 6))
    factor = min(1.0, SLICE_PIXELS / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    picture = Image.fromarray(grey(slab)).resize(size, Image.Resampling.LANCZOS)
    stretch = size[0] / width
    offsets = coordinates[:, 2] - section
    cut = np.flatnonzero(np.abs(offsets) < radii)
    spots = [
        Spot(
            float((coordinates[i, 0] + 0.5) * stretch),
            float((coordinates[i, 1] + 0.5) * stretch),
            float(np.sqrt(radii[i] ** 2 - offsets[i] ** 2) * stretch),
            int(i),
        )
        for i in cut
    ]
    address = picture_address(np.asarray(picture), "JPEG")
    return SlicePicture(address, size[0], size[1], section, spots, voxel_size / stretch)


def _fullest_section(heights: np.ndarray, radii: np.ndarray, depth: int) -> int:
    if not len(heights):
        return depth // 2
    sections = np.arange(depth)
    counts = np.zeros(depth)
    for height, radius in zip(heights, radii, strict=True):
        counts += np.abs(sections - height) < radius / 2
    # Of equal sections, prefer the one nearest to the middle, where the reconstruction is best.
    return int(np.argmax(counts - np.abs(sections - depth / 2) / (depth + 1)))


def central_slices(volume: np.ndarray) -> dict[str, str]:
    """Return the three central slices of a map as data addresses by the plane's name, with a common grey scale.

    The first letter of the plane's name is the horizontal axis, the second the vertical one, from the top left.
    """
    depth, height, width = volume.shape
    planes = {
        "xy": volume[depth // 2],
        "xz": volume[:, height // 2],
        "yz": volume[:, :, width // 2],
    }
    stack = grey(np.concatenate([np.ravel(plane) for plane in planes.values()]), 0.5, 99.8)
    addresses, start = {}, 0
    for name, plane in planes.items():
        picture = stack[start : start + plane.size].reshape(plane.shape)
        start += plane.size
        enlarged = Image.fromarray(picture).resize((AVERAGE_PIXELS, AVERAGE_PIXELS), Image.Resampling.BICUBIC)
        addresses[name] = picture_address(np.asarray(enlarged), "JPEG")
    return addresses
