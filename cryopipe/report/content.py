"""Content of the report's template."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cryopipe import __version__, columns
from cryopipe.palette import cluster_colour, cluster_marker
from cryopipe.report.cards import cluster_card
from cryopipe.report.curves import history_charts, selection_charts
from cryopipe.report.embedding_chart import embed_in_plane
from cryopipe.report.options import ReportOptions
from cryopipe.report.pictures import SlicePicture, slice_picture
from cryopipe.report.results import RunResults, TomogramResult
from cryopipe.report.summary import headline, number_text, resolution, resolution_text

POINTS = 20_000
"""Largest number of points in the scatter plot; more would slow the page and overlap."""


@dataclass(frozen=True)
class TomogramRow:
    """One row of the table of tomograms."""

    name: str
    path: str
    picks: int
    boxes: int
    clustered: int
    unassigned: int
    status: str
    problems: list[str]


@dataclass(frozen=True)
class Chip:
    """A cluster in the legend."""

    number: int
    name: str
    colour: str
    marker: str
    count: int


def page_content(
    results: RunResults, options: ReportOptions, settings: str, dataset: str, seed: int
) -> dict[str, Any]:
    """Return the variables of the report's template.

    Parameters
    ----------
    results
        Results of the run.
    options
        Options of the report.
    settings
        The run's configuration as YAML text.
    dataset
        Name of the data set, for the title.
    seed
        Random seed of the embedding of features.
    """
    chips = [_chip(results, number) for number in [*results.cluster_numbers, columns.UNASSIGNED]]
    points, method = scatter_points(results, options, seed)
    return {
        "dataset": dataset,
        "version": __version__,
        "created": datetime.datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        "headline": headline(results),
        "tiles": _tiles(results),
        "chips": [chip for chip in chips if chip.count or chip.number],
        "tomograms": [_tomogram_row(results, tomogram) for tomogram in results.tomograms],
        "pictures": tomogram_pictures(results, options.tomogram_pictures),
        "points": points,
        "method": method,
        "cards": [cluster_card(results, number) for number in results.cluster_numbers],
        "history": history_charts(results.history),
        "selection": selection_charts(results.selection),
        "mergers": mergers(results.mergers),
        "evaluation": {name: _table_texts(table) for name, table in results.evaluation.items()},
        "costs": cost_rows(results.costs),
        "settings": settings,
    }


def _chip(results: RunResults, number: int) -> Chip:
    count = int(np.sum(results.classes == number)) if len(results.particles) else 0
    return Chip(number, results.name_of(number), cluster_colour(number), cluster_marker(number), count)


def _tiles(results: RunResults) -> list[tuple[str, str]]:
    resolutions = [resolution(results, number) for number in results.cluster_numbers]
    finite = [value for value in resolutions if np.isfinite(value)]
    unassigned = int(np.sum(results.classes == columns.UNASSIGNED)) if len(results.particles) else 0
    return [
        ("tomograms", f"{len(results.tomograms):,}"),
        ("picks", f"{sum(tomogram.picks for tomogram in results.tomograms):,}"),
        ("particles", f"{len(results.particles):,}"),
        ("clusters", f"{len(results.cluster_numbers):,}"),
        ("unassigned", f"{unassigned:,}"),
        ("best resolution", resolution_text(min(finite, default=np.nan))),
    ]


def _of_tomogram(results: RunResults, name: str) -> np.ndarray:
    """Return the indices of a tomogram's particles."""
    return results.rows.get(name, np.zeros(0, int))


def _tomogram_row(results: RunResults, tomogram: TomogramResult) -> TomogramRow:
    classes = results.classes[_of_tomogram(results, tomogram.name)]
    unassigned = int(np.sum(classes == columns.UNASSIGNED))
    rows = results.check
    if "tomogram" in rows:
        rows = rows[rows["tomogram"].astype(str) == tomogram.name]
    problems = [
        f"{row['problem']}; {row['remedy']}" if row.get("remedy") else str(row["problem"])
        for row in rows.fillna("").to_dict("records")
        if row.get("problem")
    ]
    states = rows["status"].astype(str).tolist() if "status" in rows else []
    status = next((state for state in ("bad", "warning") if state in states), "ok")
    return TomogramRow(
        tomogram.name,
        tomogram.path,
        tomogram.picks,
        tomogram.boxes,
        len(classes) - unassigned,
        unassigned,
        status,
        problems,
    )


def tomogram_pictures(results: RunResults, limit: int) -> list[tuple[str, SlicePicture, list[int]]]:
    """Draw the tomograms with the most particles; return name, picture, and the cluster of every spot."""
    order = sorted(results.tomograms, key=lambda t: -len(_of_tomogram(results, t.name)))
    shown = {t.name for t in [t for t in order if t.source is not None][:limit]}
    pictures = []
    for tomogram in results.tomograms:
        volume = tomogram.volume if tomogram.name in shown else None
        if volume is None:
            continue
        members = _of_tomogram(results, tomogram.name)
        table = results.particles.iloc[members]
        if len(table):
            coordinates = table[list(columns.COORDINATES)].to_numpy(float)
            diameters = table[columns.DIAMETER].to_numpy(float)
        else:
            coordinates, diameters = np.zeros((0, 3)), np.zeros(0)
        picture = slice_picture(volume, coordinates, diameters, tomogram.voxel_size)
        classes = results.classes[members]
        pictures.append((tomogram.name, picture, [int(classes[spot.particle]) for spot in picture.spots]))
    return pictures


def scatter_points(results: RunResults, options: ReportOptions, seed: int) -> tuple[dict[str, Any], str]:
    """Return the embedded features of the particles for the page's scatter plot.

    Returns
    -------
    Columns by name (x, y, cluster, tomogram as an index into `tomograms`, posterior, particle), and the
    name of the method.
    """
    usable = (
        np.flatnonzero(np.isfinite(results.features).all(axis=1))
        if len(results.features)
        else np.zeros(0, int)
    )
    if len(usable) > POINTS and options.embedding != "pca":
        usable = usable[np.sort(np.random.default_rng(seed).choice(len(usable), POINTS, replace=False))]
    plane, method = embed_in_plane(results.features[usable], options.embedding, seed)
    if len(usable) > POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(usable), POINTS, replace=False))
        usable, plane = usable[chosen], plane[chosen]
    table = results.particles.iloc[usable] if len(usable) else pd.DataFrame()
    names = table[columns.TOMOGRAM].astype(str) if len(table) else pd.Series(dtype=str)
    tomograms = sorted(set(names))
    posterior = table[columns.POSTERIOR] if columns.POSTERIOR in table else pd.Series(dtype=float)
    return {
        "x": [round(float(value), 3) for value in plane[:, 0]],
        "y": [round(float(value), 3) for value in plane[:, 1]],
        "cluster": [int(number) for number in results.classes[usable]],
        "tomogram": np.searchsorted(tomograms, names.to_numpy(dtype=str)).tolist() if tomograms else [],
        "tomograms": tomograms,
        "posterior": [round(float(value), 2) for value in posterior],
        "particle": table[columns.PARTICLE].astype(str).tolist() if len(table) else [],
        "names": {str(n): results.name_of(n) for n in [*results.cluster_numbers, columns.UNASSIGNED]},
        "total": len(results.particles),
    }, method


def mergers(pairs: pd.DataFrame) -> list[str]:
    """Return one sentence per pair of clusters that triage proposes to merge."""
    if "offered" not in pairs:
        return []
    return [
        f"Clusters {int(row['cluster'])} and {int(row['into'])} may be the same structure: "
        f"the correlation of their averages after superposition is {row['correlation']:.2f}."
        for row in pairs[pairs["offered"] == 1].to_dict("records")
    ]


def cost_rows(costs: pd.DataFrame) -> list[Mapping[str, str]]:
    """Return the cells of the table of costs, one row per rule, in order of decreasing time."""
    return [
        {
            "rule": row["rule"],
            "jobs": f"{row['jobs']:,}",
            "seconds": f"{row['wall_seconds']:,.1f}",
            "longest": f"{row['longest_seconds']:,.1f}",
            "cpu": number_text(row["cpu_seconds"], ",.1f"),
            "memory": number_text(row["memory_mb"], ",.0f"),
        }
        for row in costs.sort_values("wall_seconds", ascending=False).to_dict("records")
    ]


def _table_texts(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a table's header and cells as texts."""
    header = [str(name).replace("_", " ") for name in table.columns]
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return {"header": header, "rows": rows}


def _cell(value: object) -> str:
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return f"{int(number):,}" if number.is_integer() and abs(number) > 1 else number_text(number, ".3f")
    return str(value)
