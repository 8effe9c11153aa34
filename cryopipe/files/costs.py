"""What the jobs of a run cost: time and memory, as the workflow's tables and the jobs' own logs tell them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

_DONE = re.compile(r"done: ([\d.]+) s of processor time, at most (\d+) MB of memory$", re.MULTILINE)
COST_COLUMNS = ("rule", "jobs", "wall_seconds", "cpu_seconds", "longest_seconds", "memory_mb")


def read_costs(folder: Path) -> pd.DataFrame:
    """Sum up the jobs of a run by rule, in the order in which the rules ended.

    The wall time is the workflow's own (`costs/`), processor time and memory are what every job's log ends with
    (where a log does not, the workflow's samples of them). Tables that a killed driver left half-written do not count.

    Parameters
    ----------
    folder
        Where the workflow ran.

    Returns
    -------
    rule, jobs, wall_seconds and cpu_seconds of all jobs together, longest_seconds, memory_mb (10^6 bytes) of the job
    that took most.
    """
    read = (_read_job(path, folder) for path in sorted((folder / "costs").glob("**/*.tsv")))
    jobs = pd.DataFrame([job for job in read if job is not None])
    if jobs.empty:
        return pd.DataFrame(columns=list(COST_COLUMNS))
    sums = jobs.groupby("rule").agg(
        jobs=("wall", "size"),
        wall_seconds=("wall", "sum"),
        cpu_seconds=("cpu", "sum"),
        longest_seconds=("wall", "max"),
        memory_mb=("memory", "max"),
        ended=("ended", "max"),
    )
    return sums.sort_values("ended", kind="stable").reset_index()[list(COST_COLUMNS)]


def _read_job(path: Path, folder: Path) -> dict[str, str | float] | None:
    """Return what one job cost, by its table of samples and the end of its log; None where that table is not whole."""
    try:
        table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
    except pd.errors.EmptyDataError:
        return None
    if table.empty or not {"s", "cpu_time", "max_rss"} <= set(table):
        return None
    place = path.relative_to(folder / "costs").with_suffix(".log")
    log = folder / "logs" / place
    found = _DONE.findall(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []
    sampled = table.iloc[0]
    cpu, memory = found[-1] if found else (sampled["cpu_time"], sampled["max_rss"] * 2**20 / 1e6)
    return {
        "rule": place.with_suffix("").parts[0],
        "wall": float(sampled["s"]),
        "cpu": float(cpu),
        "memory": float(memory),
        "ended": path.stat().st_mtime,
    }
