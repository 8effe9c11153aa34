"""A benchmark's results beside the published figures, as tables that people read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cryopipe.evaluation.benchmark_plan import BenchmarkPlan, Size
from cryopipe.evaluation.leaderboard import Leaderboard

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
FORMS = {"clusters": ".1f", "seconds": ",.0f", "memory_gb": ".2f"}
PAGE_HEADING = """# Benchmarks

The published tables as targets: `snakemake --cores all benchmark_NAME` runs one and writes its section of this
page. Rows marked *published* are the papers' figures, on the papers' own structures; the others are cryopipe's,
mean ± standard deviation over the seeds, on the classes that each section names. Those are stand-ins, and the
papers do not define their SNR: the rows show the order of magnitude, not who is ahead by a hundredth. What is
simulated, and what is not, says [the page on simulation](simulation.md).

The transfer encoder was trained on none of the maps 1bxn, 3j9i, 4cr2, 4v4r and 4v94, but which of its checkpoints ships
was decided with them in view: rows on these maps flatter it. On procedural phantoms it does much worse;
[its card](../resources/transfer_encoder.md) has both.
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


def benchmark_section(
    plan: BenchmarkPlan,
    size_name: str,
    size: Size,
    board: Leaderboard,
    classes: str,
    hardware: str,
) -> str:
    """Return a benchmark's section of the page, in Markdown.

    Parameters
    ----------
    plan, size_name, size
        What ran.
    board
        Its results.
    classes
        What the classes were, in words ("procedural phantoms", ...).
    hardware
        What it ran on, in words.
    """
    table = summary_table(plan, board.runs)
    options = plan.box_options(size, plan.conditions[0].snr, templates=False)
    box_size = (size.template_box_size or size.box_size) if "maps" in classes else size.box_size
    low, high = options.tilt_range
    count = (
        "given"
        if plan.clusters[0] == plan.clusters[1]
        else f"estimated from {plan.clusters[0]} to {plan.clusters[1]}"
    )
    lines = [
        f"## {plan.title}",
        "",
        f"`snakemake --cores all benchmark_{plan.name}`, published in {plan.source}.",
        "",
        f"- Size: **{size_name}**, {size.boxes_per_class} boxes of {box_size}³ voxels of "
        f"{plan.boxes['voxel_size']:g} Å in each class; seeds {', '.join(map(str, size.seeds))}; on {hardware}.",
        f"- Classes: {len(board.classes)}, {classes} ({', '.join(board.classes)}).",
        f"- Imaging: tilts {low:g}° to {high:g}° in steps of {options.tilt_step:g}°, defocus "
        f"{' to '.join(dict.fromkeys(f'{value:g}' for value in options.defocus))} µm, centres displaced by up to "
        f"{options.displacement:g} Å, protein around them {options.crowding:.0%} of the volume.",
        "- SNR: variance of the noise-free reconstruction over variance of the noise, both in the particle's "
        f"bounding sphere, after reconstruction. Measured: {_snrs(board.measured_snr)}.",
        f"- Number of clusters: {count}.",
        *[f"- {name}: {_options(plan, size, name)}" for name in dict.fromkeys(board.runs["learner"])],
        "",
        plan.note,
        "",
        *_markdown(table),
        "",
    ]
    return "\n".join(lines)


def update_page(page: str, sections: Mapping[str, str]) -> str:
    """Return the page with some benchmarks' sections written anew; other sections stay as they are.

    Parameters
    ----------
    page
        The page as it stands; "" for a new one.
    sections
        Markdown by name of the benchmark.
    """
    kept = dict(re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", page, flags=re.DOTALL))
    kept.update({name: text.rstrip("\n") + "\n" for name, text in sections.items()})
    blocks = [f"<!-- begin {name} -->\n{kept[name]}<!-- end {name} -->\n" for name in sorted(kept)]
    return "\n".join([PAGE_HEADING, *blocks])


def _markdown(table: pd.DataFrame) -> list[str]:
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|" + "---:|" * (len(HEADER) - 2)]
    for row in table.to_dict("records"):
        method = f"*{row['method']}, published*" if row["published"] else row["method"]
        cells = [_cell(row[score], row[f"{score}_sd"], FORMS.get(score, ".3f")) for score in SCORES]
        lines.append("| " + " | ".join([row["condition"], method, *cells]) + " |")
    return lines


def _cell(mean: float, deviation: float, form: str) -> str:
    if not math.isfinite(mean):
        return ""
    return format(mean, form) + (f" ± {deviation:{form}}" if math.isfinite(deviation) else "")


def _snrs(measured: Mapping[str, float]) -> str:
    finite = [f"{value:.2g} ({name})" for name, value in measured.items() if math.isfinite(value)]
    return ", ".join(finite) if finite else "there is no noise"


def _options(plan: BenchmarkPlan, size: Size, learner: str) -> str:
    options: Sequence[tuple[str, Any]] = [
        *plan.learners.get(learner, {"learner": learner}).items(),
        *size.learners.get(learner, {}).items(),
    ]
    return ", ".join(f"{name} {value}" for name, value in options)
