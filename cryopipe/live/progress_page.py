"""Content of the page about a run that goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryopipe import __version__
from cryopipe.live.run_state import Job, RunState
from cryopipe.live.time_left import time_text

REPORT = Path("results") / "report"
PAGE = REPORT / "progress.html"
PICTURES = REPORT / "pictures"
"""Folder of the pictures that jobs write for the page: `picks_TOMOGRAM.jpg` and `cluster_NN.jpg`."""
ARRIVALS = Path("results") / "arrivals"
CLUSTERED = Path("results") / "clusters" / "particles.star"
RELOAD_SECONDS = 10
STALE_SECONDS = 120
"""Age at which the page says that the run was interrupted."""
MOST_JOBS = 20
"""Running or failed jobs that are listed."""
MOST_LISTED = 5
"""Failed jobs that the terminal lists."""
MOST_PICTURES = 12
PICTURE_WIDTH = {"picks": 420, "cluster": 300}
"""Pixels on the page."""
REPEAT = "Fix the problem and run the same command again; completed jobs are kept."
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"


@dataclass(frozen=True)
class Picture:
    """One picture of the page."""

    address: str
    caption: str
    width: int


def page_content(
    state: RunState,
    outcome: str,
    seconds_left: float,
    measured: Mapping[str, float],
    expected_clusters: int,
    tomograms: Sequence[str],
    folder: Path = Path(),
) -> dict[str, Any]:
    """Return the variables of the template of the page.

    Parameters
    ----------
    state
        The run.
    outcome
        `RUNNING`, `FINISHED`, `FAILED` or `INTERRUPTED`.
    seconds_left
        Time left of the whole run.
    measured
        Mean time of a job by rule, seconds.
    expected_clusters
        Number of clusters, as long as it is not known.
    tomograms
        Names of the tomograms of the dataset.
    folder
        The directory of the run.
    """
    planned = state.planned_jobs(expected_clusters)
    number, now = sum(planned.values()), state.clock()
    headline = {
        RUNNING: f"{state.finished} of {number} jobs done, {time_text(seconds_left)} left",
        FINISHED: f"Finished: {state.finished} jobs",
        FAILED: f"Stopped: {_count(len(state.failed), 'job')} failed. {REPEAT}",
        INTERRUPTED: f"Interrupted after {state.finished} of {number} jobs. Run the same command again; completed jobs "
        "are kept.",
    }[outcome]
    running = sorted(state.running.values(), key=lambda job: job.started)
    report = folder / REPORT / "report.html"
    return {
        "dataset": folder.resolve().name,
        "version": __version__,
        "headline": headline,
        "written": round(now, 1),
        "time": _time_text(now),
        "reload_seconds": RELOAD_SECONDS if outcome == RUNNING else 0,
        "stale_seconds": STALE_SECONDS if outcome == RUNNING else 0,
        "tiles": [
            ("jobs done", f"{state.finished:,} of {number:,}"),
            ("running now", f"{len(running):,}"),
            ("failed", f"{len(state.failed):,}"),
            ("time so far", _clock(now - state.started)),
            ("time left", time_text(seconds_left) if outcome == RUNNING else "–"),
        ],
        "report": report.name if report.is_file() else "",
        "report_time": _time_text(_changed(report)),
        "report_words": "run" if outcome == FINISHED and state.done.get("report") else "last finished run",
        "running": [_row(job, now, folder) for job in running[:MOST_JOBS]],
        "more_running": max(0, len(running) - MOST_JOBS),
        "failed": [_row(job, now, folder) for job in list(state.failed.values())[:MOST_JOBS]],
        "stages": [_stage(rule, count, state, measured) for rule, count in planned.items() if rule != "all"],
        "arrivals": arrivals_table(folder / ARRIVALS, tomograms, _changed(folder / CLUSTERED)),
        "pictures": pictures(folder, tomograms),
    }


def failure_text(state: RunState) -> str:
    """Return the failed jobs of a run with their logs, and how to continue, in one line for the terminal."""
    failed = list(state.failed.values())
    named = [
        f"{job.rule} {job.name}".strip() + (f" ({job.log})" if job.log else "")
        for job in failed[:MOST_LISTED]
    ]
    others = f" and {len(failed) - MOST_LISTED} more" if len(failed) > MOST_LISTED else ""
    logs = "The log holds the traceback." if len(failed) == 1 else "The logs hold the tracebacks."
    return f"{_count(len(failed), 'job')} failed: {', '.join(named)}{others}. {logs} {REPEAT}"


def pictures(folder: Path, tomograms: Sequence[str]) -> list[Picture]:
    """Return the newest pictures of tomograms and of the clusters of the current clustering."""
    place, wanted = folder / PICTURES, set(tomograms)
    clustered = _changed(folder / CLUSTERED)
    files = sorted(place.glob("*.jpg"), key=_changed, reverse=True) if place.is_dir() else []
    picked = [file for file in files if file.stem.removeprefix("picks_") in wanted][:MOST_PICTURES]
    averaged = [
        file for file in files if file.stem.startswith("cluster_") and _changed(file) >= clustered > 0
    ]
    return [
        *(_picture(file, "picks", f"Picks in {file.stem.removeprefix('picks_')}") for file in picked),
        *(_picture(file, "cluster", f"Average of cluster {int(file.stem[8:])}: xy, xz, yz") for file in
          sorted(averaged)[:MOST_PICTURES]),
    ]  # fmt: skip


def later_tomograms(dataset: Path) -> int:
    """Return how many tomograms of a dataset were assigned to clusters after its last report."""
    names = [path.stem for path in sorted((dataset / ARRIVALS).glob("*.tsv"))]
    table = arrivals_table(dataset / ARRIVALS, names, _changed(dataset / CLUSTERED))
    return table["count"] if table else 0


def arrivals_table(folder: Path, tomograms: Sequence[str], clustered: float = 0.0) -> dict[str, Any] | None:
    """Return the particles by cluster of the tomograms that were assigned to existing clusters; None without any.

    The rows are those of the tables `TOMOGRAM.tsv` in a folder, with columns cluster and particles, unless they are older
    than the time `clustered`, seconds since 1970. `count` is the number of tomograms; the newest are listed.
    """
    counts: dict[str, dict[int, int]] = {}
    for name in tomograms:
        # of tomograms that were clustered since, the report has the particles
        if _changed(folder / f"{name}.tsv") < clustered:
            continue
        try:
            lines = (folder / f"{name}.tsv").read_text(encoding="utf-8").split("\n")[1:]
            counts[name] = {int(row[0]): int(row[1]) for row in (line.split("\t") for line in lines if line)}
        except (OSError, ValueError, IndexError):
            continue
    if not counts:
        return None
    numbers = sorted({number for row in counts.values() for number in row} - {0})
    header = [*(f"cluster {number}" for number in numbers), "unassigned"]
    rows = [
        [name, *(f"{row.get(number, 0):,}" for number in (*numbers, 0))]
        for name, row in list(counts.items())[::-1][: 5 * MOST_JOBS]
    ]
    return {"header": header, "rows": rows, "count": len(counts)}


def _picture(file: Path, kind: str, caption: str) -> Picture:
    # the time makes browsers load a picture that was replaced
    address = f"{PICTURES.name}/{quote(file.name)}?{int(_changed(file))}"
    return Picture(address, caption, PICTURE_WIDTH[kind])


def _row(job: Job, now: float, folder: Path) -> dict[str, str]:
    log = f"../../{quote(job.log)}" if job.log else ""
    title = f"{job.rule} {job.name}".strip()
    message = job.last_message(folder) or "–"
    return {"title": title, "time": _clock(now - job.started), "message": message, "log": log}


def _stage(rule: str, planned: int, state: RunState, measured: Mapping[str, float]) -> dict[str, Any]:
    done = state.done.get(rule, 0)
    running = sum(job.rule == rule for job in state.running.values())
    failed = sum(job.rule == rule for job in state.failed.values())
    if failed:
        words, look = f"{failed} failed", "bad"
    elif planned and done >= planned:
        words, look = "done", "ok"
    elif running:
        words, look = f"{running} running", "warning"
    else:
        words, look = "waiting", ""
    usual = _clock(measured[rule]) if rule in measured else "–"
    return {"rule": rule, "done": done, "planned": planned, "time": usual, "state": words, "look": look}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _time_text(seconds: float) -> str:
    return time.strftime("%H:%M:%S, %d %B %Y", time.localtime(seconds))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
