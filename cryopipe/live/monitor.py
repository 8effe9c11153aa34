"""Observer of a run in the workflow's own process, which writes the page about it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryopipe.errors import CryopipeError
from cryopipe.estimate import job_seconds
from cryopipe.files.atomic import write_text
from cryopipe.live.progress_page import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PAGE,
    RELOAD_SECONDS,
    RUNNING,
    failure_text,
    page_content,
)
from cryopipe.live.run_state import RunState
from cryopipe.live.time_left import measured_seconds, seconds_left, time_text
from cryopipe.tomograms import Tomogram

USUAL_CLUSTERS = 5
"""Number of clusters that is expected of a first run, within the limits of the configuration."""
BETWEEN_LINES = 30.0
"""Seconds between two lines about the time left on the terminal."""


class Monitor(logging.Handler):
    """Follows the workflow's log messages and writes the page about the run, from one process alone.

    The page is written whole or not at all, after the first message, then every `RELOAD_SECONDS`, and when the process
    ends. Whatever fails in here never stops the run.

    Parameters
    ----------
    config
        The complete configuration.
    tomograms
        The tomograms of the table, by name.
    per_cluster
        Rules with one job per cluster.
    runs
        Returns whether jobs are really run, when they begin: false for a dry-run.
    begins
        Called when the run begins.
    folder
        The directory of the run.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        tomograms: Mapping[str, Tomogram],
        per_cluster: list[str],
        runs: Callable[[], bool] = lambda: True,
        begins: Callable[[], None] = lambda: None,
        folder: Path = Path(),
    ) -> None:
        super().__init__()
        self.state, self.folder = RunState(per_cluster), folder.absolute()
        self._config, self._tomograms, self._runs, self._begins = config, tomograms, runs, begins
        self._process, self._told = os.getpid(), time.monotonic()
        self._ended = threading.Event()
        self._writer: threading.Thread | None = None
        self._clusters = expected_clusters(config, self.folder)
        self._estimated: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Follow one message."""
        with suppress(Exception):  # a later version of the workflow engine may word its messages differently
            event = getattr(getattr(record, "event", None), "value", "")
            if (self._writer is None and event != "run_info") or not self._runs():
                return
            if self.state.take(record) and self._writer is None:
                self._begin()
            if event == "job_finished":
                self._tell()

    def _begin(self) -> None:
        self._estimated = job_seconds(self._config, list(self._tomograms.values()), self._clusters)
        self._writer = threading.Thread(target=self._keep_writing, name="progress page", daemon=True)
        self._writer.start()
        atexit.register(self.finish)
        self._begins()

    def _keep_writing(self) -> None:
        while True:
            self.write(RUNNING)
            if self._ended.wait(RELOAD_SECONDS):
                return

    def finish(self) -> None:
        """Write the page of a run that ended; if jobs failed, print which, and how to continue."""
        if self._writer is None or os.getpid() != self._process or self._ended.is_set():
            return
        self._ended.set()
        self._writer.join(timeout=30)
        state = self.state
        outcome = FINISHED if state.is_complete else FAILED if state.failed else INTERRUPTED
        self.write(outcome)
        if outcome == FAILED:  # not by the workflow's `onerror`, which is ignored in a dataset's directory
            print(failure_text(state), file=sys.stderr)

    def write(self, outcome: str) -> None:
        """Write the page; if that fails, the next attempt may succeed."""
        with suppress(CryopipeError, OSError):
            from cryopipe.report.page import render_progress_page

            state, measured, left = self._now()
            content = page_content(
                state, outcome, left, measured, self._clusters, list(self._tomograms), self.folder
            )
            write_text(self.folder / PAGE, render_progress_page(content))

    def _now(self) -> tuple[RunState, dict[str, float], float]:
        """Return the state, the mean times of jobs, and the time left."""
        self.acquire()
        try:
            self.state.count_finished(self.folder)
            state = self.state.copied()
        finally:
            self.release()
        measured = {**measured_seconds(self.folder / "costs"), "all": 0.0}
        left = seconds_left(state, measured, self._estimated, self._clusters, self.folder)
        return state, measured, left

    def _tell(self) -> None:
        """Print the time left, from time to time."""
        if time.monotonic() - self._told < BETWEEN_LINES or self.state.is_complete:
            return
        self._told = time.monotonic()
        state, _, left = self._now()
        number = sum(state.planned_jobs(self._clusters).values())
        print(
            f"{state.finished} of {number} jobs done, {time_text(left)} left; {PAGE} shows the run",
            file=sys.stderr,
        )


def expected_clusters(config: Mapping[str, Any], folder: Path) -> int:
    """Return the number of clusters of the last run in a folder, otherwise a usual one."""
    try:
        lines = (folder / "results" / "clusters" / "clusters.tsv").read_text(encoding="utf-8").split("\n")[1:]
        found = sum(bool(line) and not line.startswith("0\t") for line in lines)
    except (OSError, ValueError):
        found = 0
    low, high = config["clustering"]["clusters"]
    return found or int(min(max(USUAL_CLUSTERS, low), high))
