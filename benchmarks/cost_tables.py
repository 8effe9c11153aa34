"""Sections of docs/scale.md: time and memory of the workflow."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

HEADING = """# Time and memory by size of the input

Each section contains the command that measures it.
"""
SECTIONS: Mapping[str, str] = {
    "bounds": "Memory by the size of the input",
    "scale": "A hundred tomograms, a hundred thousand particles",
    "tomograms": "Planning a thousand tomograms",
}


def scale_section(name: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a section of docs/scale.md.

    Parameters
    ----------
    name
        One of `SECTIONS`.
    tables
        By dataset; see `benchmarks.workflow_costs.measure`.
    """
    whole = pd.concat(tables.values(), ignore_index=True)
    hardware = ", ".join(dict.fromkeys(whole["hardware"]))
    lines = [
        f"## {SECTIONS[name]}",
        "",
        f"`snakemake -s benchmarks/Snakefile --cores 2 benchmark_{name}`, on {hardware}.",
        "",
    ]
    if name == "bounds":
        lines += [
            *_memory_table(tables),
            "",
            "![Memory of every rule by the size of its input](images/scale.png)",
        ]
    else:
        lines += _cost_table(whole)
    return "\n".join([*lines, ""])


def _memory_table(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return a table with one row per rule and one column per dataset, in megabytes."""
    rules = list(dict.fromkeys(rule for table in tables.values() for rule in table["rule"]))
    peaks = {
        name: dict(zip(table["rule"], table["memory_mb"], strict=True)) for name, table in tables.items()
    }
    lines = [
        "| maximum memory, MB | " + " | ".join(_title(table) for table in tables.values()) + " |",
        "|---|" + "---:|" * len(tables),
    ]
    for rule in rules:
        cells = [_whole(peak.get(rule, math.nan)) for peak in peaks.values()]
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return lines


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    kind, *words = str(first["dataset"]).split("_")
    return " ".join(words) if kind == "voxels" else f"{first['particles']:,} particles"


def _whole(value: float) -> str:
    """Return a number without decimals; "" for NaN."""
    return f"{value:,.0f}" if math.isfinite(value) else ""


def _cost_table(table: pd.DataFrame) -> list[str]:
    """Return a table with one row per rule: jobs, times, memory."""
    lines = [
        "| | jobs | wall, s | processor, s | longest job, s | maximum memory, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for dataset, rows in table.groupby("dataset", sort=False):
        first = rows.iloc[0]
        size = f", {first['particles']:,} particles" if first["particles"] else ""
        lines.append(f"| **{first['tomograms']:,} tomograms{size}** | | | | | |")
        for row in rows.to_dict("records"):
            lines.append(
                f"| {row['rule']} | {row['jobs']:,} | {row['wall_seconds']:,.1f} | {row['cpu_seconds']:,.1f} "
                f"| {row['longest_seconds']:,.1f} | {_whole(row['memory_mb'])} |"
            )
        if not str(dataset).startswith("tomograms_"):
            sums = rows[["jobs", "wall_seconds", "cpu_seconds"]].sum()
            lines.append(
                f"| sum | {sums['jobs']:,.0f} | {sums['wall_seconds']:,.0f} | {sums['cpu_seconds']:,.0f} | | |"
            )
    return lines
