"""Plot of the memory of jobs by the size of their input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from cryopipe.palette import cluster_colour

WIDTH, HEIGHT = 760, 560
LEFT, RIGHT, TOP, BOTTOM = 90, 190, 50, 70
_INK, _GRID = "#333333", "#dddddd"
_SMALLEST_GAP = 18


@dataclass(frozen=True)
class Panel:
    """One plot with logarithmic axes: title, title of the x axis, and points (x, y) by line name."""

    title: str
    x_title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def memory_picture(tables: Mapping[str, pd.DataFrame]) -> Image.Image:
    """Plot the maximum memory of each rule's jobs by voxels of a tomogram and by number of particles.

    Parameters
    ----------
    tables
        By dataset (particles_N and voxels_XxYxZ_TYPE), see `benchmarks.workflow_costs.measure`.
    """
    by_voxels: dict[str, list[tuple[float, float]]] = {}
    by_particles: dict[str, list[tuple[float, float]]] = {}
    for name, table in tables.items():
        for row in table.to_dict("records"):
            if name.startswith("voxels"):
                line, x = by_voxels, float(row["megavoxels"])
            else:
                line, x = by_particles, float(row["particles"])
            line.setdefault(str(row["rule"]), []).append((x, float(row["memory_mb"])))
    per_tomogram = ("check_tomogram", "pick_particles", "extract_subtomograms", "reembed_averages")
    panels = [
        Panel(
            "jobs of one tomogram",
            "millions of voxels of the tomogram",
            {rule: points for rule, points in by_voxels.items() if rule in per_tomogram},
        ),
        Panel(
            "jobs of all particles or of a cluster",
            "particles",
            {rule: points for rule, points in by_particles.items() if rule not in per_tomogram},
        ),
    ]
    sheet = Image.new("RGB", (WIDTH * len(panels), HEIGHT), "white")
    for number, panel in enumerate(panels):
        sheet.paste(_drawn(panel), (number * WIDTH, 0))
    return sheet


def _drawn(panel: Panel) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    points = [point for line in panel.lines.values() for point in line]
    x_ends, y_ends = (_decades([point[axis] for point in points]) for axis in (0, 1))
    draw.text((LEFT, 14), panel.title, fill=_INK, font=ImageFont.load_default(18))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_ends[0]) / (x_ends[1] - x_ends[0])
        up = (math.log10(y) - y_ends[0]) / (y_ends[1] - y_ends[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    for power in range(x_ends[0], x_ends[1] + 1):
        x, y = place(10.0**power, 10.0 ** y_ends[0])
        draw.line((x, TOP, x, y), fill=_GRID)
        draw.text((x, y + 6), f"{10**power:,}", fill=_INK, font=font, anchor="ma")
    for power in range(y_ends[0], y_ends[1] + 1):
        x, y = place(10.0 ** x_ends[0], 10.0**power)
        draw.line((x, y, WIDTH - RIGHT, y), fill=_GRID)
        draw.text((x - 8, y), f"{10**power:,} MB", fill=_INK, font=font, anchor="rm")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 30), panel.x_title, fill=_INK, font=font, anchor="ma")
    _draw_lines(draw, {name: [place(*p) for p in sorted(line)] for name, line in panel.lines.items()}, font)
    return image


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Draw lines (in pixels) with their names at the right ends, shifted down to avoid overlap."""
    lowest = 0.0
    for number, (name, line) in enumerate(sorted(lines.items(), key=lambda item: item[1][-1][1]), 1):
        colour = cluster_colour(number)
        draw.line(list(line), fill=colour, width=3)
        for x, y in line:
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        end_x, end_y = line[-1]
        label_y = max(end_y, lowest + _SMALLEST_GAP)
        lowest = label_y
        draw.text((end_x + 12, label_y), name, fill=colour, font=font, anchor="lm")


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the exponents of the powers of ten below and above the values; they differ by at least 1."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))
