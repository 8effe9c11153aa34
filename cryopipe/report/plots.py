"""Plots as pictures (RGB) for pages of documentation and for the report: points, lines, rows of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cryopipe.palette import cluster_colour
from cryopipe.report.charts import Axis, number_axis
from cryopipe.report.pictures import grey

PANEL = 300
"""Edge in pixels of a plot's area."""
LEFT, TOP, BOTTOM, RIGHT = 62, 34, 52, 14
_INK, _GRID = "#333333", "#dddddd"


@dataclass(frozen=True)
class Series:
    """Coordinates (n,) of a line or a set of points, its name, and its number, which selects the colour."""

    name: str
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    number: int
    hollow: bool = False


def scatter_plot(title: str, series: Sequence[Series], size: int = PANEL) -> Image.Image:
    """Draw points without axes, for planes whose coordinates have no meaning; hollow series as rings.

    Parameters
    ----------
    title
        Text above the plot.
    series
        One per class.
    size
        Edge of the plot's area, pixels.
    """
    image = Image.new("RGB", (size + 2 * RIGHT, size + TOP + RIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.text((RIGHT, 9), title, fill=_INK, font=ImageFont.load_default(14))
    draw.rectangle((RIGHT, TOP, RIGHT + size, TOP + size), outline=_GRID)
    points = np.concatenate([np.stack([one.x, one.y], axis=1) for one in series])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (size - 16) / max(float((high - low).max()), 1e-9)
    middle = (low + high) / 2
    for one in sorted(series, key=lambda some: some.hollow):
        for x, y in zip(one.x, one.y, strict=True):
            across = RIGHT + size / 2 + (float(x) - middle[0]) * scale
            down = TOP + size / 2 - (float(y) - middle[1]) * scale
            radius = 4 if one.hollow else 3
            place = (across - radius, down - radius, across + radius, down + radius)
            if one.hollow:
                draw.ellipse(place, outline=_INK, fill=cluster_colour(one.number), width=2)
            else:
                draw.ellipse(place, fill=cluster_colour(one.number))
    return image


def line_plot(
    title: str, x_title: str, y_title: str, series: Sequence[Series], include: Sequence[float] = ()
) -> Image.Image:
    """Draw lines with axes and their names below each other; `include` are heights that the y axis contains."""
    x = number_axis(x_title, np.concatenate([one.x for one in series]))
    y = number_axis(y_title, np.concatenate([one.y for one in series]), include)
    image = Image.new("RGB", (LEFT + PANEL + 130, TOP + PANEL + BOTTOM), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((LEFT, 9), title, fill=_INK, font=ImageFont.load_default(14))
    _draw_axes(image, draw, x, y)
    for row, one in enumerate(series):
        colour = cluster_colour(one.number)
        line = [
            (_across(x, a), _down(y, b))
            for a, b in zip(one.x.tolist(), one.y.tolist(), strict=True)
            if np.isfinite([a, b]).all()
        ]
        draw.line(line, fill=colour, width=2)
        for a, b in line:
            draw.ellipse((a - 2.5, b - 2.5, a + 2.5, b + 2.5), fill=colour)
        draw.text((LEFT + PANEL + 10, TOP + 17 * row), one.name, fill=colour, font=font)
    return image


def slice_row(title: str, maps: NDArray[np.float32], captions: Sequence[str], edge: int = 110) -> Image.Image:
    """Draw the central xy slices of maps (m, z, y, x) in a row with a common grey scale, and a caption below each."""
    slices = grey(maps[:, maps.shape[1] // 2], 0.5, 99.8)
    image = Image.new("RGB", (len(slices) * (edge + 6) + 2 * RIGHT, TOP + edge + 26), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    draw.text((RIGHT, 9), title, fill=_INK, font=ImageFont.load_default(14))
    for number, (one, caption) in enumerate(zip(slices, captions, strict=True)):
        left = RIGHT + number * (edge + 6)
        image.paste(Image.fromarray(one).resize((edge, edge), Image.Resampling.BICUBIC), (left, TOP))
        draw.text((left + edge / 2, TOP + edge + 4), caption, fill=_INK, font=font, anchor="ma")
    return image


def slice_rows(
    rows: Sequence[tuple[str, NDArray[np.float32], Sequence[str]]], edge: int = 110
) -> Image.Image:
    """Draw rows of slices below each other; title, maps and captions of each as for `slice_row`."""
    if not rows:
        return Image.new("RGB", (2 * RIGHT, TOP), "white")
    return arranged([[slice_row(*row, edge)] for row in rows])


def legend(series: Sequence[Series]) -> Image.Image:
    """Draw the names of the classes of a scatter plot below each other."""
    image = Image.new("RGB", (190, TOP + 20 * len(series) + RIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for row, one in enumerate(series):
        top = TOP + 20 * row
        colour = cluster_colour(one.number)
        outline = _INK if one.hollow else colour
        draw.ellipse((2, top + 3, 12, top + 13), fill=colour, outline=outline, width=2)
        draw.text((18, top), one.name, fill=_INK, font=font)
    return image


def arranged(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Return one picture of rows of pictures, aligned at the top left."""
    widths = [sum(picture.width for picture in row) for row in rows]
    heights = [max(picture.height for picture in row) for row in rows]
    sheet = Image.new("RGB", (max(widths), sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture in row:
            sheet.paste(picture, (left, top))
            left += picture.width
        top += height
    return sheet


def _draw_axes(image: Image.Image, draw: ImageDraw.ImageDraw, x: Axis, y: Axis) -> None:
    font = ImageFont.load_default(13)
    for value, text in y.ticks:
        height = _down(y, value)
        draw.line((LEFT, height, LEFT + PANEL, height), fill=_GRID)
        draw.text((LEFT - 6, height), text, fill=_INK, font=font, anchor="rm")
    for value, text in x.ticks:
        draw.text((_across(x, value), TOP + PANEL + 6), text, fill=_INK, font=font, anchor="ma")
    draw.text((LEFT + PANEL / 2, TOP + PANEL + 28), x.title, fill=_INK, font=font, anchor="ma")
    name = Image.new("RGB", (PANEL, 16), "white")
    ImageDraw.Draw(name).text((PANEL / 2, 0), y.title, fill=_INK, font=font, anchor="ma")
    image.paste(name.rotate(90, expand=True), (2, TOP))


def _across(axis: Axis, value: float) -> float:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * PANEL


def _down(axis: Axis, value: float) -> float:
    return TOP + PANEL * (1 - (value - axis.low) / (axis.high - axis.low))
