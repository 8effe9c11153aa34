"""State of a run, from the workflow's log messages: jobs planned, running, done and failed."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path
from typing import Any

_LEFT = re.compile(r"(\d+):(\d\d):(\d\d) left")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ ")
_TAIL = 4096
"""Bytes at the end of a log that are read."""


@dataclass
class Job:
    """One job of a run.

    Attributes
    ----------
    rule, name
        The rule, and the tomogram, cluster or format; blank for rules with one job.
    log, costs
        The job's log and the workflow's table of its time; blank without one.
    threads
        Processor cores.
    started
        Seconds since 1970.
    """

    rule: str
    name: str
    log: str
    costs: str
    threads: int
    started: float

    def last_message(self, folder: Path = Path()) -> str:
        """Return the last line of the job's log without its time; blank without one."""
        lines = [line for line in _tail(folder / self.log).split("\n") if line.strip()] if self.log else []
        return _STAMP.sub("", lines[-1]).strip() if lines else ""


def reported_seconds_left(message: str) -> float | None:
    """Return the time left that a progress message states, in seconds; None if it states none."""
    found = _LEFT.search(message)
    if found is None:
        return None
    hours, minutes, seconds = map(int, found.groups())
    return 3600.0 * hours + 60 * minutes + seconds


@dataclass
class RunState:
    """Jobs of a run.

    Attributes
    ----------
    per_cluster
        Rules with one job per cluster, whose number is known only after `checkpoint`.
    checkpoint
        The rule after which the number of clusters is known.
    clock
        Returns the time in seconds since 1970.
    planned
        Number of jobs by rule, in the order of the run.
    done, running, failed
        Finished jobs by rule, running ones by number, failed ones by number.
    total
        Number of jobs that are planned at present.
    cores
        Processor cores of the run; None if they are not known, as on a cluster.
    jobs_at_once
        Largest number of jobs that ran at the same time, by rule.
    threads
        Processor cores of one job, by rule.
    started
        Seconds since 1970.
    """

    per_cluster: Sequence[str] = ()
    checkpoint: str = "apply_curation"
    clock: Callable[[], float] = time.time
    planned: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    running: dict[int, Job] = field(default_factory=dict)
    failed: dict[int, Job] = field(default_factory=dict)
    total: int = 0
    cores: int | None = None
    jobs_at_once: dict[str, int] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    started: float = 0.0
    _known: dict[int, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def take(self, record: LogRecord) -> bool:
        """Follow one log message of the workflow; return whether it changed anything."""
        event = getattr(record, "event", None)
        name = str(getattr(event, "value", event or ""))
        follow = getattr(self, f"_{name}", None) if name in _EVENTS else None
        if follow is None:
            return False
        follow(record)
        return True

    def count_finished(self, folder: Path = Path()) -> bool:
        """Count running jobs as done whose table of time was written; return whether there were any.

        The workflow sends no message about finished jobs if its option `--quiet` includes them.
        """
        finished = [
            number
            for number, job in self.running.items()
            if job.costs and _changed(folder / job.costs) >= job.started
        ]
        for number in finished:
            self._finish(number)
        return bool(finished)

    def copied(self) -> RunState:
        """Return a copy that later messages do not change."""
        copy = RunState(self.per_cluster, self.checkpoint, self.clock)
        copy.total, copy.cores, copy.started = self.total, self.cores, self.started
        for name in ("planned", "done", "running", "failed", "jobs_at_once", "threads"):
            setattr(copy, name, dict(getattr(self, name)))
        return copy

    @property
    def finished(self) -> int:
        """The number of finished jobs."""
        return sum(self.done.values())

    @property
    def is_complete(self) -> bool:
        """Whether all planned jobs are done."""
        return self.total > 0 and self.finished >= self.total and not self.failed

    def planned_jobs(self, expected_clusters: int) -> dict[str, int]:
        """Return the number of jobs of each rule, with those of clusters that are not yet known.

        Parameters
        ----------
        expected_clusters
            Their number, as long as it is not known.
        """
        planned = dict(self.planned)
        if self.checkpoint not in planned:
            return planned
        waits = planned.get(self.checkpoint, 0) > self.done.get(self.checkpoint, 0)
        # Other jobs that were planned after the checkpoint are known once they start.
        started = Counter(job.rule for job in self.running.values()) + Counter(self.done)
        planned |= {
            rule: count for rule, count in started.items() if rule not in {*planned, *self.per_cluster}
        }
        known = sum(planned.values()) - sum(planned.get(rule, 0) for rule in self.per_cluster)
        added = max(0, self.total - known)
        for position, rule in enumerate(self.per_cluster):
            even = added // len(self.per_cluster) + (position < added % len(self.per_cluster))
            if waits:
                planned[rule] = max(planned.get(rule, 0), expected_clusters)
            elif added:
                planned[rule] = max(even, self.done.get(rule, 0))
        return planned

    def _run_info(self, record: LogRecord) -> None:
        stats: Mapping[str, int] = getattr(record, "stats", {})
        self.planned = {rule: int(count) for rule, count in stats.items() if rule != "total"}
        self.total = max(self.total, sum(self.planned.values()))

    def _resources_info(self, record: LogRecord) -> None:
        self.cores = getattr(record, "cores", self.cores)

    def _job_info(self, record: LogRecord) -> None:
        given: dict[str, Any] = vars(record)
        logs, wildcards = list(given.get("log") or []), dict(given.get("wildcards") or {})
        number = int(given["jobid"])
        job = Job(
            str(given["rule_name"]),
            " ".join(map(str, wildcards.values())),
            str(logs[0]) if logs else "",
            str(given.get("benchmark") or ""),
            int(given.get("threads") or 1),
            self.clock(),
        )
        self._known[number] = job
        self.threads[job.rule] = job.threads
        self._start(number)

    def _start(self, number: int) -> None:
        job = self._known[number]
        job.started = self.clock()
        self.failed.pop(number, None)
        self.running[number] = job
        same = sum(other.rule == job.rule for other in self.running.values())
        self.jobs_at_once[job.rule] = max(self.jobs_at_once.get(job.rule, 0), same)

    def _job_finished(self, record: LogRecord) -> None:
        self._finish(int(vars(record)["job_id"]))

    def _finish(self, number: int) -> None:
        job = self.running.pop(number, None) or self.failed.pop(number, None)
        if job is not None:
            self.done[job.rule] = self.done.get(job.rule, 0) + 1

    def _job_error(self, record: LogRecord) -> None:
        number = int(vars(record)["jobid"])
        job = self.running.pop(number, None) or self._known.get(number)
        if job is not None:
            self.failed[number] = job

    def _progress(self, record: LogRecord) -> None:
        self.total = int(vars(record)["total"])


_EVENTS = ("run_info", "resources_info", "job_info", "job_finished", "job_error", "progress")
"""Names of the messages that a run's state follows from."""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
