"""Contact sheet: one picture of all averages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.palette import cluster_colour
from cryopipe.report.isosurface import VIEWS, contour_level, object_radius, render_isosurface
from cryopipe.report.pictures import grey

CELL = 160
GAP = 8
LABEL = 90


def contact_sheet(averages: Mapping[int, ClusterAverage]) -> np.ndarray:
    """Draw one row per cluster: the isosurface in three views and the central xy, xz and yz slices.

    Returns
    -------
    (y, x, 3) 8-bit RGB; a line of text if there are no averages.
    """
    width = LABEL + 6 * (CELL + GAP) + GAP
    height = max(len(averages), 1) * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    if not averages:
        draw.text((GAP, height // 2), "There are no averages.", fill="black")
    for row, (number, average) in enumerate(sorted(averages.items())):
        top = GAP + row * (CELL + GAP)
        draw.ellipse((GAP, top + CELL // 2 - 6, GAP + 12, top + CELL // 2 + 6), fill=cluster_colour(number))
        draw.text((GAP + 20, top + CELL // 2 - 6), f"cluster {number}", fill="black")
        for column, picture in enumerate(_pictures(average.volume)):
            left = LABEL + GAP + column * (CELL + GAP)
            sheet.paste(picture, (left, top), picture.getchannel("A"))
    return np.asarray(sheet)


def _pictures(volume: np.ndarray) -> list[Image.Image]:
    pictures = []
    level = contour_level(volume)
    if np.isfinite(level):
        reach = object_radius(volume, level)
        pictures = [Image.fromarray(render_isosurface(volume, level, view, reach, CELL)) for _, view in VIEWS]
    z, y, x = (n // 2 for n in volume.shape)
    planes = [volume[z], volume[:, y], volume[:, :, x]]
    slices = [
        Image.fromarray(grey(plane, 0.5, 99.8)).convert("RGBA").resize((CELL, CELL)) for plane in planes
    ]
    return pictures + slices
