"""Line charts as SVG; the page's style sheet sets the colours for light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36


@dataclass(frozen=True)
class Line:
    """One curve: name, coordinates (n,) each, and the CSS class of its stroke ("main", "second", ...)."""

    name: str
    x: np.ndarray
    y: np.ndarray
    style: str = "main"


@dataclass(frozen=True)
class Band:
    """A filled band: name, coordinates (n,), and its lower and upper edge (n,)."""

    name: str
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Axis:
    """An axis: title, limits, and the positions and texts of its ticks."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


def number_axis(title: str, values: np.ndarray, include: Sequence[float] = ()) -> Axis:
    """Return an axis over the finite values with ticks at round numbers."""
    finite = np.concatenate([np.asarray(values, float).ravel(), np.asarray(include, float)])
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / 4)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    count = round((high - low) / step)
    return Axis(title, low, high, [(low + i * step, f"{low + i * step:.10g}") for i in range(count + 1)])


def whole_number_axis(title: str, values: np.ndarray) -> Axis:
    """Return an axis for counts (such as iterations) with ticks at whole numbers."""
    low, high = (int(np.min(values)), int(np.max(values))) if len(values) else (0, 1)
    step = max(1, math.ceil((high - low) / 5))
    return Axis(
        title, low, max(high, low + 1), [(n, str(n)) for n in range(low, max(high, low + 1) + 1, step)]
    )


def resolution_axis(frequencies: np.ndarray) -> Axis:
    """Return an axis over spatial frequency (1/angstrom) with ticks labelled by resolution."""
    top = float(np.max(frequencies)) if len(frequencies) else 0.1
    ticks = [(top * i / 4, f"{4 / (top * i):.3g}") for i in range(1, 5)]
    return Axis("resolution, Å", 0.0, top, ticks)


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    levels: Sequence[tuple[float, str]] = (),
    bands: Sequence[Band] = (),
) -> Markup:
    """Draw curves as one SVG element.

    Parameters
    ----------
    title
        What the chart shows, for screen readers.
    lines
        The curves; non-finite points are skipped.
    x, y
        The axes.
    levels
        Heights and texts of dashed horizontal lines.
    bands
        Bands behind the curves.
    """
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    parts += [_horizontal(y, value, text) for value, text in y.ticks]
    for value, text in x.ticks:
        place = _place_x(x, value)
        parts.append(f'<text class="tick" x="{place:.1f}" y="{HEIGHT - BOTTOM + 14}">{escape(text)}</text>')
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x.title)}</text>'
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis" transform="translate(11 {middle}) rotate(-90)">{escape(y.title)}</text>'
    )
    for value, text in levels:
        height = _place_y(y, value)
        parts.append(
            f'<path class="level" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="level-text" x="{WIDTH - RIGHT}" y="{height - 3:.1f}">{escape(text)}</text>'
        )
    parts += [_filled(band, x, y) for band in bands]
    parts += [_curve(line, x, y) for line in lines]
    return Markup("".join([*parts, "</svg>"]))


def _horizontal(y: Axis, value: float, text: str) -> str:
    height = _place_y(y, value)
    return (
        f'<path class="grid" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="tick end" x="{LEFT - 6}" y="{height + 3.5:.1f}">{escape(text)}</text>'
    )


def _curve(line: Line, x: Axis, y: Axis) -> str:
    xs, ys = np.asarray(line.x, float), np.asarray(line.y, float)
    usable = np.isfinite(xs) & np.isfinite(ys)
    points = " ".join(
        f"{_place_x(x, a):.1f},{_place_y(y, b):.1f}" for a, b in zip(xs[usable], ys[usable], strict=True)
    )
    name = f"<title>{escape(line.name)}</title>"
    if usable.sum() == 1:
        place, height = points.split(",")
        return f'<circle class="dot {escape(line.style)}" cx="{place}" cy="{height}" r="3">{name}</circle>'
    return f'<polyline class="line {escape(line.style)}" points="{points}">{name}</polyline>'


def _filled(band: Band, x: Axis, y: Axis) -> str:
    xs = np.concatenate([band.x, band.x[::-1]])
    ys = np.concatenate([band.high, band.low[::-1]])
    points = " ".join(f"{_place_x(x, a):.1f},{_place_y(y, b):.1f}" for a, b in zip(xs, ys, strict=True))
    return f'<polygon class="band" points="{points}"><title>{escape(band.name)}</title></polygon>'


def _place_x(axis: Axis, value: float) -> float:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT)


def _place_y(axis: Axis, value: float) -> float:
    fraction = (value - axis.low) / (axis.high - axis.low)
    return HEIGHT - BOTTOM - min(max(fraction, -0.02), 1.02) * (HEIGHT - TOP - BOTTOM)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
