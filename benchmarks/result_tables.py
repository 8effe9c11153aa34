"""Sections of docs/benchmarks.md: results of a benchmark next to the published figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks.leaderboard import SCORES, Leaderboard
from benchmarks.plan import BenchmarkPlan
from benchmarks.plan_parts import Size
from cryopipe.errors import rounded, size_text

HEADER = (
    "condition", "method", "accuracy", "homogeneity", "V", "worst F1", "K", "probe", "seconds", "memory, GB",
)  # fmt: skip
TARGET = "target"
"""Method of a row with target figures that are not from a paper."""
FORMS = {"clusters": ".1f", "seconds": ",.0f", "memory_gb": ".2f"}
PAGE_HEADING = """# Benchmarks

Each published table is a target of `benchmarks/Snakefile`. `snakemake -s benchmarks/Snakefile --cores all benchmark_NAME`
runs one and writes its section of this page. `snakemake -s benchmarks/Snakefile --cores all full_benchmarks` trains a new
encoder and runs all of them at full size; this requires a GPU.

Rows marked *published* are figures from the papers, measured on the papers' structures. The other rows are cryopipe's
(mean ± standard deviation over the seeds), measured on the classes listed in each section. *K* is the number of clusters
found. *Worst F1* is that of the class that its best cluster fits worst. *Probe* is the accuracy of a linear classifier trained on the features with the true labels of four fifths of the
boxes and tested on the others: what the features hold, apart from clustering. *floor* (radial statistics) and *oracle*
(the true noise-free maps, their likelihood summed over poses) bound what a learner can reach on these boxes. These classes replace the
papers' structures, and the papers do not define their SNR: compare orders of magnitude, not hundredths.
[Simulation](simulation.md) describes what is simulated and what is not; [clustering](clustering.md) describes how the
number of clusters is estimated.

The shipped transfer encoder was trained on procedural phantoms only: on none of the maps, and of the phantoms in these
tables only on those of the SHREC-like table. Its recipe was not chosen by any figure on this page;
[its description](../resources/transfer_encoder.md) states what was evaluated during its development.
"""


def summary_table(plan: BenchmarkPlan, runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds, with the published rows of each condition first.

    Parameters
    ----------
    plan
        Provides the order of the conditions and the published figures.
    runs
        See `Leaderboard.runs`.

    Returns
    -------
    Columns condition, method, published (True or False), and for every score its mean and, with suffix `_sd`, its
    standard deviation (NaN for published figures and single seeds).
    """
    rows: list[dict[str, Any]] = []
    for condition in plan.conditions:
        for figures in plan.published:
            if figures["condition"] == condition.name:
                rows.append({**figures, "published": True})
        chosen = runs[runs["condition"] == condition.name]
        for learner, group in chosen.groupby("learner", sort=False):
            row = {"condition": condition.name, "method": str(learner), "published": False}
            for score in SCORES:
                row[score], row[f"{score}_sd"] = group[score].mean(), group[score].std()
            rows.append(row)
    names = ["condition", "method", "published"]
    names += [name for score in SCORES for name in (score, f"{score}_sd")]
    return pd.DataFrame(rows).reindex(columns=names)


def benchmark_section(plan: BenchmarkPlan, board: Leaderboard) -> str:
    """Return a benchmark's section of docs/benchmarks.md in Markdown.

    Parameters
    ----------
    plan
        The plan that was run.
    board
        Its results.
    """
    size = plan.sizes[board.size]
    count, edge = board.boxes
    low, high = plan.clusters
    estimated = "given" if low == high else f"estimated from {low} to {high}"
    classes = "maps that replace the paper's structures" if board.maps else "procedural phantoms"
    lines = [
        f"## {plan.title}",
        "",
        f"`snakemake -s benchmarks/Snakefile --cores all benchmark_{plan.name}`{_templates(board)}; {plan.source}.",
        "",
        f"- Size: **{board.size}**, {count} boxes of {edge}³ voxels of {plan.boxes['voxel_size']:g} Å; seeds "
        f"{', '.join(map(str, size.seeds))}; on {board.hardware}.",
        f"- Classes: {len(board.classes)}, {classes} ({', '.join(board.classes)}).",
        *_imaging(plan, size),
        f"- Measured SNR: {_snrs(board.measured_snr)}.",
        f"- Number of clusters: {estimated}.",
        *[f"- {name}: {_options(plan, size, name)}" for name in dict.fromkeys(board.runs["learner"])],
        "",
        plan.note,
        "",
        *_markdown(summary_table(plan, board.runs)),
        "",
    ]
    return "\n".join(lines)


def _templates(board: Leaderboard) -> str:
    return " with `templates`" if board.maps else ""


def _imaging(plan: BenchmarkPlan, size: Size) -> list[str]:
    """Return the lines that describe the simulation of the boxes."""
    options = plan.box_options(size, plan.conditions[0].snr, maps=False)
    low, high = options.tilt_range
    defocus = " to ".join(dict.fromkeys(f"{value:g}" for value in options.defocus))
    tilts = (
        f"tilts {low:g}° to {high:g}° in steps of {options.tilt_step:g}°, defocus {defocus} µm, centres displaced "
        f"by up to {options.displacement:g} Å"
    )
    where = "both in the particle's bounding sphere, after reconstruction"
    if plan.tomograms is None:
        crowding = f"protein around them {options.crowding:.0%} of the volume"
        return [
            f"- Imaging: {tilts}, {crowding}.",
            f"- SNR: variance of the noise-free reconstruction over variance of the noise, {where}.",
        ]
    made = plan.tomogram_options()
    shape = size_text(made.size)
    return [
        f"- Imaging: {plan.tomogram_count} simulated tomograms of {shape} voxels, {made.copies} copies of each "
        f"class and {made.vesicles} vesicles in each, weighted back-projection; {tilts}.",
        f"- SNR: median signal variance over mean noise variance, {where}.",
    ]


def _markdown(table: pd.DataFrame) -> list[str]:
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|" + "---:|" * (len(HEADER) - 2)]
    for row in table.to_dict("records"):
        method = str(row["method"])
        if row["published"]:
            method = f"*{method}*" if method == TARGET else f"*{method}, published*"
        cells = [_cell(row[score], row[f"{score}_sd"], FORMS.get(score, ".3f")) for score in SCORES]
        lines.append("| " + " | ".join([row["condition"], method, *cells]) + " |")
    return lines


def _cell(mean: float, deviation: float, form: str) -> str:
    if not math.isfinite(mean):
        return ""
    return format(mean, form) + (f" ± {deviation:{form}}" if math.isfinite(deviation) else "")


def _snrs(measured: Mapping[str, float]) -> str:
    finite = [f"{rounded(value, 2)} ({name})" for name, value in measured.items() if math.isfinite(value)]
    return ", ".join(dict.fromkeys(finite)) if finite else "no noise"


def _options(plan: BenchmarkPlan, size: Size, learner: str) -> str:
    entry = plan.learner_entry(learner, size)
    protocol = plan.protocol_of(learner)
    own = [] if protocol == plan.protocol else [f"protocol {protocol}"]
    return ", ".join([*own, *_listed(entry)])


def _listed(options: Mapping[str, Any]) -> list[str]:
    """Return "name value" of every option; those of sections have the section's name before them."""
    listed = []
    for name, value in options.items():
        within = _listed(value) if isinstance(value, Mapping) else None
        listed += [f"{name} {value}"] if within is None else [f"{name}.{one}" for one in within]
    return listed
