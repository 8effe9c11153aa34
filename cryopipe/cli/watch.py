"""The command `cryopipe watch`: tomograms are added and assigned as they arrive."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe import columns
from cryopipe.cli.arriving_files import (
    ANEW,
    Arriving,
    State,
    file_state,
    is_clustered,
    newer_than_tried,
    results_of,
    unassigned_tomograms,
)
from cryopipe.cli.description import describe
from cryopipe.cli.init import add_tomograms
from cryopipe.config import read_config
from cryopipe.errors import FileError, TableError
from cryopipe.files.atomic import write_text
from cryopipe.files.star import read_particles
from cryopipe.live.progress_page import ARRIVALS, CLUSTERED, PAGE
from cryopipe.tomograms import Tomogram, read_tomogram_table

CONFIG = Path("config") / "config.yaml"
LOCK, RUNS = ARRIVALS / ".watch", ARRIVALS / ".running"
"""A file that the watching process locks, and one that exists while its snakemake runs."""


def watch(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders in which tomograms arrive.")] = None,
    dataset: Annotated[Path, typer.Option(help="The dataset's directory.")] = Path("."),
    snakemake: Annotated[str, typer.Option(help="Arguments of snakemake.")] = "--cores all",
    settle: Annotated[
        float, typer.Option(help="Seconds for which a file must not have changed before it is read.")
    ] = 60.0,
    every: Annotated[float, typer.Option(help="Seconds between two looks at the folders.")] = 20.0,
    anew_after: Annotated[
        int, typer.Option(help="Learn and cluster anew after this many new tomograms; 0: only when asked.")
    ] = 0,
    anew: Annotated[
        bool, typer.Option("--anew", help="Ask for learning and clustering anew, also of a watch that runs.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="End when all tomograms at hand are done.")] = False,
) -> None:
    """Add tomograms as they arrive, pick and embed their particles, and assign them to the clusters at hand.

    The first tomograms are processed by a whole run. Later ones are added to the table as by `cryopipe init --add` and
    assigned with the model and the clusters of that run; results/arrivals/TOMOGRAM.star has their particles. Tomograms
    themselves are only read. End it with Ctrl-C; started again, it resumes.
    """
    if not (dataset / CONFIG).is_file():
        raise FileError("has no config/config.yaml", file=dataset, remedy="run `cryopipe init` first")
    if not folders and not anew:
        raise TableError("no folder to watch", remedy="give the folders in which tomograms arrive")
    for folder in folders or ():
        if not folder.is_dir():
            raise FileError(
                "is not a directory", file=folder, remedy="give the folder in which tomograms arrive"
            )
    if anew:
        write_text(dataset / ANEW, "learn and cluster anew\n")
    if folders:
        watcher = Watcher(dataset, [folder.absolute() for folder in folders], settle, shlex.split(snakemake))
        with alone(dataset) as lock:
            watcher.lock = lock
            watcher.follow(every, anew_after, once)


class Watcher:
    """One process that follows the folders of a dataset.

    Parameters
    ----------
    dataset
        Its directory.
    folders
        The watched folders.
    settle
        See `Arriving`.
    arguments
        Of snakemake.
    """

    def __init__(
        self, dataset: Path, folders: Sequence[Path], settle: float, arguments: Sequence[str]
    ) -> None:
        self.dataset, self.folders, self.arguments = dataset, folders, list(arguments)
        self.lock = -1
        self._arriving = Arriving(settle)
        self._told: dict[Path, State | None] = {}
        self._tried: dict[str, State | None] = {}
        self._clustered: tuple[State | None, set[str]] = (None, set())

    def follow(self, every: float, anew_after: int, once: bool) -> None:
        """Look at the folders again and again; with `once`, until all files at hand are done."""
        if (self.dataset / RUNS).exists():  # its snakemake was killed together with an earlier watch
            self._run(["--unlock"])
        say(
            f"watching {', '.join(map(str, self.folders))}; the state is in {self.dataset / PAGE}; Ctrl-C ends"
        )
        while True:
            settled = self._arriving.settled(self.folders, time.time())
            self.add(settled)
            did = self.process(anew_after)
            if once and not did and not self._arriving.waiting:
                return
            time.sleep(0 if did else every)

    def add(self, files: Sequence[Path]) -> None:
        """Add files to the table of tomograms; a file that cannot be read is waited for."""
        present = {(self.dataset / row.path).absolute().resolve() for row in self.tomograms().values()}
        usable = []
        for path in files:
            if path.resolve() in present or self._told.get(path) == file_state(path):
                continue
            self._told[path] = file_state(path)
            reason = describe(path, None).unusable
            if reason:
                say(f"{reason}; waiting until the file changes")
            else:
                usable.append(path)
        if usable:
            add_tomograms(self.dataset, usable)

    def process(self, anew_after: int) -> bool:
        """Run snakemake if there is something to do; return whether it ran."""
        rows = self.tomograms()
        paths = {name: self.dataset / row.path for name, row in rows.items()}
        asked = (self.dataset / ANEW).exists()
        if asked or not is_clustered(self.dataset):
            new = newer_than_tried(self._tried, paths)
            return bool(asked or new) and self._whole_run(paths, asked)
        clustered = self._clustered_tomograms()
        later = [name for name in rows if name not in clustered]
        missing = unassigned_tomograms(self.dataset, list(rows), clustered)
        missing = newer_than_tried(self._tried, {name: paths[name] for name in missing})
        if missing and anew_after and len(later) >= anew_after:
            return self._whole_run(paths, True)
        if missing:
            say(f"assigning the particles of {', '.join(missing)}")
            self._tried |= {name: file_state(paths[name]) for name in missing}
            self._run(results_of(missing))
        return bool(missing)

    def _whole_run(self, paths: dict[str, Path], asked: bool) -> bool:
        say(f"{'learning and clustering anew' if asked else 'a first run'}: {len(paths)} tomograms")
        self._tried = {name: file_state(path) for name, path in paths.items()}
        # one request leads to one run, even if it fails: the next one is the user's
        (self.dataset / ANEW).unlink(missing_ok=True)
        self._run([])
        return True

    def tomograms(self) -> dict[str, Tomogram]:
        """Return the tomograms of the dataset's table."""
        options = read_config(self.dataset / CONFIG)
        low, high = options["imaging"]["tilt_range"]
        table = self.dataset / options["tomograms"]
        return read_tomogram_table(table, (low, high), options["imaging"]["contrast"])

    def _clustered_tomograms(self) -> set[str]:
        table = self.dataset / CLUSTERED
        if self._clustered[0] != file_state(table):
            names = read_particles(table)[columns.TOMOGRAM].astype(str)
            self._clustered = (file_state(table), set(names))
        return self._clustered[1]

    def _run(self, targets: Sequence[str]) -> None:
        """Run snakemake in the dataset, and wait for it; it holds the lock of this process until it ends."""
        command = [sys.executable, "-m", "snakemake", *self.arguments]
        command += (
            ["--rerun-incomplete", "--keep-going", *targets] if targets != ["--unlock"] else ["--unlock"]
        )
        mark = self.dataset / RUNS
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        kept = (self.lock,) if self.lock >= 0 else ()
        with subprocess.Popen(command, cwd=self.dataset, pass_fds=kept) as process, _ends(process):
            status = process.wait()
        mark.unlink(missing_ok=True)
        if status:
            say(
                f"snakemake ended with status {status}; fix the problem named above: changed tomograms are tried again"
            )


@contextmanager
def alone(dataset: Path) -> Iterator[int]:
    """Hold the lock of a dataset, so that one process watches it at a time; yield the lock's file descriptor.

    The operating system releases the lock when this process and its snakemake have ended, however they ended.

    Raises
    ------
    FileError
        If another process watches the dataset.
    """
    path = dataset / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "is watched by another process, or a snakemake that it started still runs"
            raise FileError(problem, file=dataset, remedy="end it, or wait until it has ended") from None
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _ends(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Hand a termination on to a process, and wait for its end."""

    def terminate(number: int, frame: Any) -> None:
        process.terminate()
        raise KeyboardInterrupt  # out of the wait for the process, whose lock this handler would wait for

    earlier = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reached it, too
        raise
    finally:
        signal.signal(signal.SIGTERM, earlier)


def say(text: str) -> None:
    """Print a line with the time."""
    typer.echo(f"{time.strftime('%H:%M:%S')} {text}")
