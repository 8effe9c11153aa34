"""Content of the report's template."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cryopipe import __version__, columns
from cryopipe.averaging.verdicts import PARTICLE
from cryopipe.curation.decisions import SCORES
from cryopipe.palette import cluster_colour, cluster_marker
from cryopipe.report.cards import cluster_card
from cryopipe.report.curves import history_charts, selection_charts
from cryopipe.report.embedding_chart import particle_plane
from cryopipe.report.options import ReportOptions
from cryopipe.report.overview import contents, overview
from cryopipe.report.payload import particle_payload, pictured_particles, tomogram_payload
from cryopipe.report.pictures import png_address
from cryopipe.report.relations import relations
from cryopipe.report.results import RunResults, TomogramResult
from cryopipe.report.summary import headline, number_text, resolution, resolution_text


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
    plane, method = particle_plane(results.features, len(results.particles), options.embedding, seed)
    shown, pictured = pictured_particles(results, options.tomogram_pictures, seed)
    payload = particle_payload(results, plane, pictured)
    return {
        "dataset": dataset,
        "version": __version__,
        "created": datetime.datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        "headline": headline(results),
        "tiles": _tiles(results),
        "chips": [chip for chip in chips if chip.count or chip.number],
        "tomograms": [_tomogram_row(results, tomogram) for tomogram in results.tomograms],
        "pictures": tomogram_payload(results, shown, pictured),
        "pictured": shown,
        "payload": payload,
        "choices": [score for score in payload["scores"] if score["name"] in SCORES],
        "embedded": int(np.isfinite(plane).all(axis=1).sum()),
        "method": method,
        "overview": overview(results),
        "contents": contents(results),
        "cards": [cluster_card(results, number) for number in results.listed_numbers],
        "paths": png_address(results.paths) if results.paths else "",
        "history": history_charts(results.history),
        "selection": selection_charts(results.selection),
        "mergers": mergers(results.mergers),
        "relations": relations(results.relations),
        "evaluation": {name: _table_texts(table) for name, table in results.evaluation.items()},
        "costs": cost_rows(results.costs),
        "settings": settings,
    }


def _chip(results: RunResults, number: int) -> Chip:
    count = int(np.sum(results.classes == number)) if len(results.particles) else 0
    return Chip(number, results.name_of(number), cluster_colour(number), cluster_marker(number), count)


def _tiles(results: RunResults) -> list[tuple[str, str]]:
    # picked noise has a resolution, too
    real = [n for n in results.cluster_numbers if results.verdict_of.get(n, (PARTICLE, ""))[0] == PARTICLE]
    resolutions = [resolution(results, number) for number in real]
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
