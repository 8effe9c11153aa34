"""What a run of the workflow cost: time and memory of every rule, beside the size of what went in."""

from __future__ import annotations

import math
import re
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from cryopipe.errors import DataError
from cryopipe.evaluation.bounds_data import MadeDataset
from cryopipe.evaluation.hardware import describe_hardware

_DONE = re.compile(r"done: ([\d.]+) s of processor time, at most (\d+) MB of memory$", re.MULTILINE)
_BEFORE = (
    "results/check/{}.tsv",
    "results/picks/{}.star",
    "results/subtomograms/{}.h5",
    "results/subtomograms/{}.star",
)
"""What is there of every tomogram when the number of clusters becomes known."""
CLUSTERS = 5


def measure(dataset: MadeDataset, command: Sequence[str]) -> pd.DataFrame:
    """Run a dataset through the workflow, or plan it where its tomograms are empty.

    Parameters
    ----------
    dataset
        As `make_dataset` made it.
    command
        The workflow's engine with its Snakefile.

    Returns
    -------
    One row per rule (or step of planning) in the order in which they ran: dataset, tomograms, megavoxels, particles,
    rule, jobs, wall_seconds and cpu_seconds of all jobs together, longest_seconds, memory_mb of the job that took
    most, hardware.

    Raises
    ------
    DataError
        If the run fails.
    """
    whole = [*command, "--directory", str(dataset.folder)]
    if dataset.empty:
        rows = pd.DataFrame(_plans(dataset, whole))
    else:
        _call(dataset, whole)
        rows = job_costs(dataset.folder)
    particles = dataset.folder / "results/clusters/particles.star"
    head = {
        "dataset": dataset.name,
        "tomograms": dataset.tomograms,
        "megavoxels": dataset.megavoxels,
        "particles": 0 if dataset.empty else _rows(particles),
    }
    return pd.DataFrame({**head, **rows, "hardware": describe_hardware(torch.device("cpu"))})


def job_costs(folder: Path) -> pd.DataFrame:
    """Sum up the jobs of a run by rule, in the order in which the rules ended.

    The wall time is the workflow's own (`benchmarks/`), processor time and memory are what every job's log ends with
    (where a log does not, the workflow's samples of them).

    Parameters
    ----------
    folder
        Where the workflow ran.

    Returns
    -------
    rule, jobs, wall_seconds, cpu_seconds, longest_seconds, memory_mb.
    """
    rows: list[tuple[str, float, float, float]] = []
    ended: dict[str, float] = {}
    for path in sorted((folder / "benchmarks").glob("**/*.tsv")):
        place = path.relative_to(folder / "benchmarks").with_suffix(".log")
        log = folder / "logs" / place
        found = _DONE.findall(log.read_text(encoding="utf-8")) if log.is_file() else []
        sampled = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[0]
        seconds, memory = found[-1] if found else (sampled["cpu_time"], sampled["max_rss"] * 2**20 / 1e6)
        rule = place.with_suffix("").parts[0]
        rows.append((rule, float(sampled["s"]), float(seconds), float(memory)))
        ended[rule] = max(ended.get(rule, 0.0), path.stat().st_mtime)
    jobs = pd.DataFrame(rows, columns=["rule", "wall", "cpu", "memory"])
    sums = jobs.groupby("rule").agg(
        jobs=("wall", "size"),
        wall_seconds=("wall", "sum"),
        cpu_seconds=("cpu", "sum"),
        longest_seconds=("wall", "max"),
        memory_mb=("memory", "max"),
    )
    return sums.loc[sorted(ended, key=lambda rule: ended[rule])].reset_index()


def _plans(dataset: MadeDataset, command: list[str]) -> list[dict[str, object]]:
    """Time the planning before and after the number of clusters is known, and a single job's share of it."""
    dry = [*command, "--dry-run", "--quiet", "all"]
    rows = [_timed("plan up to the clusters", dataset, dry)]
    _pretend(dataset)
    rows.append(_timed("plan from the clusters on", dataset, dry))
    one = [*dry, "--force", "--allowed-rules", "check_tomogram", "--", "results/check/tomogram_0001.tsv"]
    return [*rows, _timed("what every job on a cluster begins with", dataset, one)]


def _pretend(dataset: MadeDataset) -> None:
    """Put files without content where results would be, up to the clusters."""
    names = [path.stem for path in sorted((dataset.folder / "tomograms").glob("*.mrc"))]
    waves = [[pattern.format(name) for name in names] for pattern in _BEFORE]
    waves += [["results/check/tomograms.tsv"]]
    waves += [[f"results/features/{name}" for name in ("model.safetensors", "features.npz", "history.tsv")]]
    waves += [[f"results/clusters/{name}" for name in ("particles.star", "selection.tsv", "clusters.tsv")]]
    for wave in waves:
        for name in wave:
            path = dataset.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    table = [
        "cluster\tparticles\tmean_posterior",
        *(f"{number}\t10\t1.0" for number in range(1, CLUSTERS + 1)),
    ]
    (dataset.folder / "results/clusters/clusters.tsv").write_text("\n".join([*table, ""]))


def _timed(what: str, dataset: MadeDataset, command: list[str]) -> dict[str, object]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    _call(dataset, command)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rule": what, "jobs": 1, "wall_seconds": wall, "cpu_seconds": cpu, "longest_seconds": wall,
        "memory_mb": float("nan"),
    }  # fmt: skip


def _call(dataset: MadeDataset, command: Sequence[str]) -> None:
    log = dataset.folder / "run.log"
    with log.open("a", encoding="utf-8") as stream:
        ended = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if ended.returncode:
        raise DataError(f"the run of {dataset.name} failed", file=log, remedy="see its end")


def _rows(star: Path) -> int:
    """Count the rows of a particle table without keeping them."""
    with star.open(encoding="utf-8") as stream:
        return sum(1 for line in stream if line.strip() and not line.startswith(("#", "_", "data_", "loop_")))


HEADING = """# How it grows

What the workflow costs by the size of what goes in, measured by the commands that each section names.
"""
SECTIONS: Mapping[str, str] = {
    "bounds": "Memory by the size of the input",
    "scale": "A hundred tomograms, a hundred thousand particles",
    "tomograms": "Planning a thousand tomograms",
}


def scale_section(name: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a section of the page on scale.

    Parameters
    ----------
    name
        One of `SECTIONS`.
    tables
        By dataset, as `measure` returns them.
    """
    whole = pd.concat(tables.values(), ignore_index=True)
    hardware = ", ".join(dict.fromkeys(whole["hardware"]))
    lines = [f"## {SECTIONS[name]}", "", f"`snakemake --cores 2 benchmark_{name}`, on {hardware}.", ""]
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
    """One row per rule, one column per dataset: megabytes."""
    rules = list(dict.fromkeys(rule for table in tables.values() for rule in table["rule"]))
    peaks = {
        name: dict(zip(table["rule"], table["memory_mb"], strict=True)) for name, table in tables.items()
    }
    lines = [
        "| most memory, MB | " + " | ".join(_title(table) for table in tables.values()) + " |",
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
    """Return a number without decimals; nothing for one that was not measured."""
    return f"{value:,.0f}" if math.isfinite(value) else ""


def _cost_table(table: pd.DataFrame) -> list[str]:
    """One row per rule: jobs, times, memory."""
    lines = [
        "| | jobs | wall, s | processor, s | longest job, s | most memory, MB |",
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
