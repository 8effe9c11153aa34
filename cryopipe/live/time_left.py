"""Time left of a whole run, from the jobs that are planned and the times measured so far."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from cryopipe.estimate import START_SECONDS
from cryopipe.live.run_state import RunState, reported_seconds_left

MOST_TABLES = 50
"""Tables of time that are read for each rule: the newest."""
USUAL_THREADS = 4
"""Processor cores of a job of a rule that did not yet run."""
MOST_OFF = 10.0
"""Largest factor by which measured times correct the estimates of rules that were not measured."""


def measured_seconds(folder: Path) -> dict[str, float]:
    """Return the mean time of one job of each rule, in seconds, from the workflow's tables in a folder, `costs`.

    Tables of earlier runs count as long as no newer ones of the same jobs were written. Incomplete tables are ignored.
    """
    found = {}
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        tables = list(place.rglob("*.tsv")) if place.is_dir() else [place]
        times = [_seconds(table) for table in sorted(tables, key=_changed)[-MOST_TABLES:]]
        known = [seconds for seconds in times if seconds is not None]
        if known:
            found[place.stem] = statistics.fmean(known)
    return found


def seconds_left(
    state: RunState,
    measured: Mapping[str, float],
    estimated: Mapping[str, float],
    expected_clusters: int,
    folder: Path = Path(),
) -> float:
    """Return the time left of a run in seconds.

    The rules follow each other. The jobs of one rule run side by side, as many as the cores of the run allow; on a
    cluster, whose cores are not known, as many as ran at the same time so far. A running job takes what its log states, or
    the rest of the rule's mean time.

    Parameters
    ----------
    state
        The run.
    measured
        Mean time of one job by rule; see `measured_seconds`.
    estimated
        Times of rules that were not measured; they are corrected by the median ratio of measured and estimated times.
    expected_clusters
        The number of clusters, as long as it is not known.
    folder
        The directory of the run, for the logs of running jobs.
    """
    factor = _correction(measured, estimated)
    left = 0.0
    for rule, count in state.planned_jobs(expected_clusters).items():
        usual = measured.get(rule, factor * estimated.get(rule, START_SECONDS))
        running = [job for job in state.running.values() if job.rule == rule]
        waiting = max(0, count - state.done.get(rule, 0) - len(running))
        started = []
        for job in running:
            stated = reported_seconds_left(job.last_message(folder))
            rest = max(usual - (state.clock() - job.started), 0.1 * usual)
            started.append(rest if stated is None else stated)
        slots = _slots(state, rule)
        side_by_side = (waiting * usual + sum(started)) / max(1, min(slots, waiting + len(started)))
        left += max(side_by_side, *started, usual if waiting else 0.0, 0.0)
    return left


def time_text(seconds: float) -> str:
    """Return a time left in words: about 40 s, about 5 min, about 2 h 10 min, about 3 days."""
    if seconds < 60:
        return f"about {max(10, 10 * round(seconds / 10))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 10:
        minutes = 10 * (minutes // 10)
        return f"about {hours} h {minutes} min" if minutes else f"about {hours} h"
    return f"about {hours} h" if hours < 48 else f"about {round(hours / 24)} days"


def _correction(measured: Mapping[str, float], estimated: Mapping[str, float]) -> float:
    ratios = [seconds / estimated[rule] for rule, seconds in measured.items() if estimated.get(rule)]
    return min(max(statistics.median(ratios), 1 / MOST_OFF), MOST_OFF) if ratios else 1.0


def _slots(state: RunState, rule: str) -> int:
    """Return how many jobs of a rule run at the same time."""
    seen = state.jobs_at_once.get(rule, 1)
    if state.cores is None:
        return max(seen, *state.jobs_at_once.values()) if state.jobs_at_once else 1
    return max(seen, state.cores // max(1, state.threads.get(rule, USUAL_THREADS)))


def _seconds(table: Path) -> float | None:
    try:
        heading, values = table.read_text(encoding="utf-8").split("\n")[:2]
        return float(dict(zip(heading.split("\t"), values.split("\t"), strict=True))["s"])
    except (OSError, ValueError, KeyError):
        return None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
