"""Relations of classes on the page: what else predicts their labels, and which are neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from cryopipe.evidence.leakage import RUN
from cryopipe.evidence.run_neighbourhood import pair_correlation
from cryopipe.report.charts import Line, line_chart, number_axis
from cryopipe.report.summary import number_text

MOST_CHARTS = 8


def relations(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the tables and charts of the section on relations; empty ones for results that the run does not have.

    Parameters
    ----------
    tables
        `leakage`, `neighbourhood` and `distances` of the run.
    """
    leakage, neighbours = tables.get("leakage"), tables.get("neighbourhood")
    return {
        "leakage": None if leakage is None or not len(leakage) else _leakage_table(leakage),
        "neighbours": None if neighbours is None or not len(neighbours) else _neighbour_table(neighbours),
        "charts": neighbour_charts(neighbours, tables.get("distances")),
    }


def _leakage_table(leakage: pd.DataFrame) -> dict[str, list[Any]]:
    """Return one row per class, and one for all, with the explained fraction of its label by each property."""
    factors = list(dict.fromkeys(leakage["factor"]))
    rows = []
    for cluster in sorted(set(leakage["cluster"]), key=lambda name: (name != RUN, name.zfill(9))):
        cells = [{"0": "unassigned", RUN: "all classes"}.get(cluster, cluster)]
        for factor in factors:
            found = leakage[(leakage["cluster"] == cluster) & (leakage["factor"] == factor)]
            cells.append(_explained(found.iloc[0]) if len(found) else "–")
        rows.append(cells)
    return {"header": ["cluster", *factors], "rows": rows}


def _explained(row: pd.Series) -> str:
    return f"{number_text(float(row['explained']), '.2f')} (p {probability_text(float(row['p']))})"


def probability_text(p: float) -> str:
    """Return a probability with two digits, or that it is below 0.001."""
    return "below 0.001" if p < 0.001 else number_text(p, ".2g")


def _neighbour_table(neighbours: pd.DataFrame) -> dict[str, list[Any]]:
    header = [
        "cluster",
        "neighbour",
        "in contact",
        "expected",
        "most at, nm",
        "times expected",
        "p",
        "relative orientation p",
    ]
    rows = []
    for row in neighbours.sort_values(["p", "cluster"], kind="stable").to_dict("records"):
        expected = f"{row['contact_low']:.0%} to {row['contact_high']:.0%}"
        numbers = [number_text(row["excess_at"] / 10, ".0f"), number_text(row["ratio"], ".1f")]
        ps = [
            "–" if math.isnan(row[name]) else probability_text(row[name]) for name in ("p", "orientation_p")
        ]
        rows.append([row["cluster"], row["neighbour"], f"{row['in_contact']:.0%}", expected, *numbers, *ps])
    return {"header": header, "rows": rows}


def neighbour_charts(
    neighbours: pd.DataFrame | None, distances: pd.DataFrame | None
) -> list[tuple[str, Markup]]:
    """Draw the pair correlation of the pairs of classes with the smallest p, with the range of shuffled positions."""
    if neighbours is None or distances is None or not len(neighbours):
        return []
    curves = pair_correlation(distances)
    charts: list[tuple[str, Markup]] = []
    drawn: set[frozenset[str]] = set()
    for row in neighbours.sort_values(["p", "cluster"], kind="stable").to_dict("records"):
        cluster, neighbour = int(row["cluster"]), str(row["neighbour"])
        pair = frozenset([str(cluster), neighbour])
        if pair in drawn or len(charts) == MOST_CHARTS:
            continue
        drawn.add(pair)
        charts.append(_chart(cluster, neighbour, float(row["p"]), curves))
    return charts


def _chart(cluster: int, neighbour: str, p: float, curves: pd.DataFrame) -> tuple[str, Markup]:
    curve = curves[(curves["cluster"] == cluster) & (curves["neighbour"] == neighbour)]
    x = curve["distance"].to_numpy(float) / 10
    ys = {name: curve[name].to_numpy(float) for name in ("correlation", "lowest", "highest")}
    other = f"cluster {neighbour}" if neighbour.isdecimal() else neighbour
    title = f"Cluster {cluster} and {other}, p {probability_text(p)}"
    lines = [
        Line("2.5 % of shuffled positions", x, ys["lowest"], "second"),
        Line("97.5 % of shuffled positions", x, ys["highest"], "second"),
        Line("observed over expected pairs", x, ys["correlation"]),
    ]
    values = np.concatenate(list(ys.values()))
    chart = line_chart(
        title,
        lines,
        number_axis("distance, nm", x, [0.0]),
        number_axis("pairs / expected", values, [0.0, 1.0]),
        [(1.0, "1")],
    )
    return title, chart
