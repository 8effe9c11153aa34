"""Tables of all clusters, and of clusters by tomogram."""

from __future__ import annotations

from typing import Any

import numpy as np

from cryopipe import columns
from cryopipe.palette import cluster_colour, cluster_marker
from cryopipe.report.results import RunResults
from cryopipe.report.summary import mean_posterior, number_text, resolution, resolution_text

OVERVIEW = ("particles", "tomograms", "mean posterior", "resolution")
"""Columns of the overview."""


def overview(results: RunResults) -> dict[str, Any]:
    """Return the header and one row per cluster, real particles first: number, name, verdict,
    reason, colour, marker and the cells."""
    names = results.particles[columns.TOMOGRAM].astype(str).to_numpy() if len(results.particles) else None
    rows = []
    for number in results.listed_numbers:
        members = results.classes == number
        tomograms = len(np.unique(names[members])) if names is not None else 0
        cells = [
            f"{int(members.sum()):,}",
            f"{tomograms:,}",
            number_text(mean_posterior(results, number), ".2f"),
            resolution_text(resolution(results, number)),
        ]
        look = {"colour": cluster_colour(number), "marker": cluster_marker(number)}
        verdict, reason = results.verdict_of.get(number, ("–", ""))
        texts = {"name": results.name_of(number), "verdict": verdict, "reason": reason}
        rows.append({"number": number, "cells": cells, **texts, **look})
    return {"header": list(OVERVIEW), "rows": rows}


def contents(results: RunResults) -> dict[str, list[Any]]:
    """Return the number of particles of each cluster in each tomogram, one row per tomogram."""
    numbers = [*results.cluster_numbers, columns.UNASSIGNED]
    rows = []
    for tomogram in results.tomograms:
        classes = results.classes[results.rows.get(tomogram.name, np.zeros(0, int))]
        rows.append([tomogram.name, *(f"{int(np.sum(classes == number)):,}" for number in numbers)])
    return {"header": ["tomogram", *map(str, numbers)], "rows": rows}
