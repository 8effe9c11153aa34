"""Pictures of single results, written as soon as their job ends, for the page about a run that goes on."""

from __future__ import annotations

import logging
import os

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from cryopipe import columns
from cryopipe.errors import FileError
from cryopipe.files.atomic import atomic_path
from cryopipe.files.opening import OpenTomogram
from cryopipe.palette import PICK_COLOUR, cluster_colour
from cryopipe.report.pictures import grey

LONGEST_EDGE = 640
"""Pixels."""
AVERAGE_EDGE = 150

logger = logging.getLogger(__name__)


def write_pick_picture(
    path: str | os.PathLike[str], opened: OpenTomogram, picks: pd.DataFrame
) -> NDArray[np.uint8]:
    """Write `pick_picture` as JPEG.

    A picture that cannot be written is left out with a warning: it is not a result of the run.

    Parameters
    ----------
    path
        The JPEG file.
    opened, picks
        See `pick_picture`.

    Returns
    -------
    (y, x, 3) the picture.
    """
    picture = pick_picture(opened, picks)
    _save(path, picture)
    return np.asarray(picture)


def pick_picture(opened: OpenTomogram, picks: pd.DataFrame) -> Image.Image:
    """Draw the picks of a tomogram on the section, normal to z, that cuts most of them.

    Parameters
    ----------
    opened
        The tomogram.
    picks
        Particle table; particles of a class have the colour of its cluster.
    """
    radii = picks[columns.DIAMETER].to_numpy(float) / (2 * opened.voxel_size) if len(picks) else np.empty(0)
    positions = picks[list(columns.COORDINATES)].to_numpy(float) if len(picks) else np.empty((0, 3))
    classes = picks[columns.CLASS].to_numpy(int) if columns.CLASS in picks else None
    colours = [PICK_COLOUR] * len(picks) if classes is None else [cluster_colour(int(n)) for n in classes]
    section = fullest_section(opened.volume.shape[0], positions[:, 2], radii)
    half = max(1, int(np.median(radii) / 5)) if len(radii) else 1
    part = opened.volume[max(0, section - half) : section + half + 1]
    plane = gaussian_filter(np.nan_to_num(np.asarray(part, np.float32).mean(axis=0)), 1.0)
    scale = min(1.0, LONGEST_EDGE / max(plane.shape))
    size = max(1, round(plane.shape[1] * scale)), max(1, round(plane.shape[0] * scale))
    picture = Image.fromarray(grey(plane)).resize(size, Image.Resampling.BOX).convert("RGB")
    drawing = ImageDraw.Draw(picture)
    for (x, y, z), radius, colour in zip(positions, radii, colours, strict=True):
        squared = radius**2 - (z - section) ** 2
        if squared > 0:
            reach = squared**0.5
            corners = [(x - reach) * scale, (y - reach) * scale, (x + reach) * scale, (y + reach) * scale]
            drawing.ellipse(corners, outline=colour, width=2)
    return picture


def fullest_section(depth: int, heights: NDArray[np.float64], radii: NDArray[np.float64]) -> int:
    """Return the section that cuts most particles; of several, or without particles, the middle one.

    Parameters
    ----------
    depth
        Number of sections.
    heights, radii
        (n,) positions along z and radii of the particles, voxels.
    """
    counts = np.zeros(depth, int)
    for height, radius in zip(heights, radii, strict=True):
        low, high = np.clip([np.ceil(height - radius), np.floor(height + radius) + 1], 0, depth).astype(int)
        counts[low:high] += 1
    fullest = np.flatnonzero(counts == counts.max())
    return int(fullest[len(fullest) // 2])


def write_average_picture(path: str | os.PathLike[str], average: NDArray[np.float32]) -> None:
    """Write the three central sections of an average, xy, xz and yz, side by side as JPEG."""
    n = average.shape[0] // 2
    strip = grey(np.concatenate([average[n], average[:, n], average[:, :, n]], axis=1), 0.5, 99.8)
    _save(path, Image.fromarray(strip).resize((3 * AVERAGE_EDGE, AVERAGE_EDGE), Image.Resampling.BICUBIC))


def _save(path: str | os.PathLike[str], picture: Image.Image) -> None:
    try:
        with atomic_path(path) as temporary:
            picture.save(temporary, "JPEG", quality=80)
    except (FileError, OSError) as error:
        logger.warning("the picture %s for the progress page was not written: %s", path, error)
