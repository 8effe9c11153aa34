"""Time and memory of a run's jobs, from the workflow's tables and the jobs' logs."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

_DONE = re.compile(r"done: ([\d.]+) s of processor time, at most (\d+) MB of memory$", re.MULTILINE)
COST_COLUMNS = ("rule", "jobs", "wall_seconds", "cpu_seconds", "longest_seconds", "memory_mb")


def read_costs(folder: Path) -> pd.DataFrame:
    """Return the total time and the peak memory of a run's jobs by rule, in the order in which the rules ended.

    The wall time is from the workflow's tables (`costs/`); processor time and memory are from the last line of each job's
    log, or from the workflow's tables if a log has no such line. Incomplete tables are ignored.

    Parameters
    ----------
    folder
        The directory in which the workflow ran.

    Returns
    -------
    rule, jobs, wall_seconds and cpu_seconds (totals of all jobs), longest_seconds and memory_mb (10^6 bytes; largest
    values of a single job).
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
    """Return the cost of one job from its table and the end of its log; None if the table is incomplete."""
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
