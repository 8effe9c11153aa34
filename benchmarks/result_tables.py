"""A benchmark's results beside the published figures, as tables that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmarks.leaderboard import Leaderboard
from benchmarks.plan import BenchmarkPlan, Size
from cryopipe.errors import size_text

SCORES = (
    "accuracy",
    "homogeneity",
    "completeness",
    "v_measure",
    "rand_index",
    "clusters",
    "seconds",
    "memory_gb",
)
HEADER = (
    "condition", "method", "accuracy", "homogeneity", "completeness", "V", "ARI", "clusters", "seconds",
    "memory, GB",
)  # fmt: skip
MARK = "mark"
"""Method of a row that no paper published: figures to reach."""
FORMS = {"clusters": ".1f", "seconds": ",.0f", "memory_gb": ".2f"}
PAGE_HEADING = """# Benchmarks

The published tables as targets: `snakemake -s benchmarks/Snakefile --cores all benchmark_NAME` runs one and writes its section of this
page; `snakemake -s benchmarks/Snakefile --cores all full_benchmarks` trains the encoder anew and runs all of them at full size, which
wants a GPU. How the number of clusters is estimated says [the page on clustering](clustering.md). Rows marked
*published* are the papers' figures, on the papers' own structures; the others are cryopipe's, mean ± standard
deviation over the seeds, on the classes that each section names. Those are stand-ins, and the papers do not
define their SNR: the rows show the order of magnitude, not who is ahead by a hundredth. What is simulated, and
what is not, says [the page on simulation](simulation.md).

The transfer encoder that ships was trained on procedural phantoms alone: on none of the maps, and on none of the phantoms
in these tables but those of the SHREC-like one. Its recipe was not chosen by any figure on this page;
[its card](../resources/transfer_encoder.md) tells what was in view.
"""


def summary_table(plan: BenchmarkPlan, runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds, published rows first within each condition.

    Parameters
    ----------
    plan
        Gives the conditions' order and the published figures.
    runs
        As `Leaderboard.runs`.

    Returns
    -------
    Columns condition, method, published (True or False), and for every score its mean and, with `_sd`, its
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


def benchmark_section(plan: BenchmarkPlan, board: Leaderboard, hardware: str) -> str:
    """Return a benchmark's section of the page, in Markdown.

    Parameters
    ----------
    plan
        What ran.
    board
        Its results.
    hardware
        What it ran on, in words.
    """
    size = plan.sizes[board.size]
    count, edge = board.boxes
    low, high = plan.clusters
    estimated = "given" if low == high else f"estimated from {low} to {high}"
    classes = "maps that stand in for the paper's structures" if board.maps else "procedural phantoms"
    lines = [
        f"## {plan.title}",
        "",
        f"`snakemake -s benchmarks/Snakefile --cores all benchmark_{plan.name}`{_templates(board)}; {plan.source}.",
        "",
        f"- Size: **{board.size}**, {count} boxes of {edge}³ voxels of {plan.boxes['voxel_size']:g} Å; seeds "
        f"{', '.join(map(str, size.seeds))}; on {hardware}.",
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
    """Return the lines that say how the boxes came about."""
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
            method = f"*{method}*" if method == MARK else f"*{method}, published*"
        cells = [_cell(row[score], row[f"{score}_sd"], FORMS.get(score, ".3f")) for score in SCORES]
        lines.append("| " + " | ".join([row["condition"], method, *cells]) + " |")
    return lines


def _cell(mean: float, deviation: float, form: str) -> str:
    if not math.isfinite(mean):
        return ""
    return format(mean, form) + (f" ± {deviation:{form}}" if math.isfinite(deviation) else "")


def _snrs(measured: Mapping[str, float]) -> str:
    finite = [f"{value:.2g} ({name})" for name, value in measured.items() if math.isfinite(value)]
    return ", ".join(dict.fromkeys(finite)) if finite else "there is no noise"


def _options(plan: BenchmarkPlan, size: Size, learner: str) -> str:
    options: Sequence[tuple[str, Any]] = [
        *plan.learners.get(learner, {"learner": learner}).items(),
        *size.learners.get(learner, {}).items(),
    ]
    return ", ".join(f"{name} {value}" for name, value in options)
