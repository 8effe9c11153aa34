"""`cryopipe watch`: which files are taken when, what is run for them, and how it resumes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryopipe import columns
from cryopipe.cli import main
from cryopipe.cli.arriving_files import ANEW, Arriving, file_state, unassigned_tomograms
from cryopipe.cli.watch import RUNS, Watcher, alone
from cryopipe.errors import FileError
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles
from cryopipe.live.progress_page import ARRIVALS, CLUSTERED


def tomogram(path: Path, seed: int = 1) -> Path:
    write_volume(path, np.random.default_rng(seed).normal(0, 1, (20, 24, 28)).astype(np.float32), 10.0)
    return path


def make_old(*paths: Path, seconds: float = 1000.0) -> None:
    for path in paths:
        then = time.time() - seconds
        os.utime(path, (then, then))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data set"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text("seed: 1\n")
    (folder / "config" / "tomograms.tsv").write_text(f"# mine\ntomogram\tpath\nTS_00\t{tmp_path}/TS_00.mrc\n")
    tomogram(tmp_path / "TS_00.mrc", 9)
    (tmp_path / "in").mkdir()
    return folder


def finish_run(dataset: Path, *tomograms: str) -> None:
    """Leave the results of a whole run on some tomograms."""
    for name in ("features/model.safetensors", "clusters/particles.star"):
        (dataset / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / "results" / name).write_text("")
    write_particles(dataset / CLUSTERED, pd.DataFrame({columns.TOMOGRAM: list(tomograms), columns.CLASS: 1}))


class Recorded(Watcher):
    """A watcher whose snakemake writes what it was asked for."""

    def __init__(self, dataset: Path, folder: Path, settle: float = 10.0, fails: bool = False) -> None:
        super().__init__(dataset, [folder], settle, ["--cores", "1"])
        self.asked: list[list[str]] = []
        self.fails = fails

    def _run(self, targets: Any) -> None:
        self.asked.append(list(targets))
        if self.fails or targets == ["--unlock"]:
            return
        if targets:
            for target in targets:
                (self.dataset / target).parent.mkdir(parents=True, exist_ok=True)
                (self.dataset / target).write_text("")
        else:
            finish_run(self.dataset, *self.tomograms())


def rows(dataset: Path) -> list[str]:
    return [
        line.split("\t")[0]
        for line in (dataset / "config" / "tomograms.tsv").read_text().split("\n")[2:]
        if line
    ]


def test_a_file_is_taken_when_it_has_not_changed_for_some_seconds(tmp_path: Path) -> None:
    arriving, now = Arriving(60.0), time.time()
    old, new = tmp_path / "old.mrc", tmp_path / "new.rec"
    for path in (old, new, tmp_path / ".hidden.mrc", tmp_path / "notes.txt"):
        path.write_bytes(b"1")
    make_old(old, seconds=100)
    assert arriving.settled([tmp_path, tmp_path / "absent"], now) == [old]
    assert arriving.waiting == 1
    assert arriving.settled([tmp_path], now + 50) == [old]
    new.write_bytes(b"12")  # the copy goes on
    os.utime(new, (now - 500, now - 500))  # with the time of the source, as cp -p and rsync -t give it
    assert arriving.settled([tmp_path], now + 70) == [old]
    assert arriving.settled([tmp_path], now + 129) == [old]
    assert arriving.settled([tmp_path], now + 131) == [new, old]
    assert arriving.waiting == 0


def test_tomograms_are_added_then_assigned_and_files_are_not_changed(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "in"
    first = tomogram(folder / "TS_01.mrc")
    half = folder / "TS_02.mrc"
    half.write_bytes(first.read_bytes()[:5000])
    make_old(first, half)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (first, half)}
    watcher = Recorded(dataset, folder)
    watcher.follow(0, 0, once=True)
    assert rows(dataset) == ["TS_00", "TS_01"]
    assert watcher.asked == [[]]
    said = capsys.readouterr().out
    assert re.search(r"TS_02\.mrc: .*; waiting until the file changes\n", said), said
    assert "a first run: 2 tomograms\n" in said
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    # the copy ends: the file is read again, once it has settled
    tomogram(half, seed=2)
    make_old(half, seconds=500)
    watcher._arriving = Arriving(10.0)
    watcher.follow(0, 0, once=True)
    assert rows(dataset) == ["TS_00", "TS_01", "TS_02"]
    assert watcher.asked == [[], ["results/arrivals/TS_02.star"]]
    # started again, it finds nothing to do
    again = Recorded(dataset, folder)
    again.follow(0, 0, once=True)
    assert again.asked == []
    assert (dataset / "config" / "tomograms.tsv").read_text().startswith("# mine\n")


def test_clustering_anew_when_asked_or_after_some_tomograms(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make_old(tomogram(folder / "a.mrc"))
    watcher = Recorded(dataset, folder)
    watcher.follow(0, 2, once=True)
    for number, name in enumerate("bc", 2):
        make_old(tomogram(folder / f"{name}.mrc", number))
        watcher.follow(0, 2, once=True)
    assert watcher.asked == [[], ["results/arrivals/b.star"], []]
    with pytest.raises(SystemExit) as ended:
        main(["watch", "--dataset", str(dataset), "--anew"])
    assert not ended.value.code
    assert (dataset / ANEW).is_file()
    watcher.follow(0, 0, once=True)
    assert watcher.asked[3:] == [[]]
    assert not (dataset / ANEW).exists()


def test_what_failed_is_tried_again_when_its_file_changes(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make_old(tomogram(folder / "a.mrc"))
    finish_run(dataset, "TS_00")
    watcher = Recorded(dataset, folder, fails=True)
    watcher.follow(0, 0, once=True)
    watcher.follow(0, 0, once=True)
    assert watcher.asked == [["results/arrivals/a.star"]]
    make_old(tomogram(folder / "a.mrc", 7), seconds=50)
    watcher.follow(0, 0, once=True)
    assert watcher.asked == 2 * [["results/arrivals/a.star"]]


def test_assignments_to_earlier_clusters_are_made_again(dataset: Path) -> None:
    finish_run(dataset, "a")
    assert unassigned_tomograms(dataset, ["a", "b", "c"], {"a"}) == ["b", "c"]
    for name in "bc":
        (dataset / ARRIVALS).mkdir(parents=True, exist_ok=True)
        (dataset / ARRIVALS / f"{name}.star").write_text("")
    os.utime(dataset / CLUSTERED, (2000, 2000))
    os.utime(dataset / ARRIVALS / "b.star", (1000, 1000))
    assert unassigned_tomograms(dataset, ["a", "b", "c"], {"a"}) == ["b"]


def test_one_process_watches_a_dataset_and_its_snakemake_keeps_the_lock(dataset: Path) -> None:
    with alone(dataset) as lock:
        with pytest.raises(FileError, match="is watched by another process"), alone(dataset):
            pass
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    try:  # as if the watching process had been killed
        with pytest.raises(FileError, match="a snakemake that it started still runs"), alone(dataset):
            pass
    finally:
        child.communicate(b"\n")
    with alone(dataset):
        pass


def test_after_a_kill_the_directory_is_unlocked_first(dataset: Path, tmp_path: Path) -> None:
    finish_run(dataset, "TS_00")
    (dataset / RUNS).parent.mkdir(parents=True)
    (dataset / RUNS).touch()
    watcher = Recorded(dataset, tmp_path / "in")
    watcher.follow(0, 0, once=True)
    assert watcher.asked == [["--unlock"]]


def test_snakemake_gets_the_arguments_and_a_termination(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    watcher = Watcher(dataset, [], 1.0, ["--profile", "my slurm"])
    seen: list[list[str]] = []
    real = subprocess.Popen

    def stand_in(command: list[str], **options: Any) -> Any:
        seen.append(command)
        assert options["cwd"] == dataset
        assert (dataset / RUNS).exists()
        return real([sys.executable, "-c", script], **options)

    monkeypatch.setattr(subprocess, "Popen", stand_in)
    script = "raise SystemExit(3)"
    watcher._run(["results/arrivals/a.star"])
    assert seen == [
        [sys.executable, "-m", "snakemake", "--profile", "my slurm", "--rerun-incomplete", "--keep-going",
         "results/arrivals/a.star"]
    ]  # fmt: skip
    assert not (dataset / RUNS).exists()
    assert "snakemake ended with status 3; fix the problem named above" in capsys.readouterr().out
    script = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        watcher._run([])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (dataset / RUNS).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{in}", "--dataset", "{in}"], "{in}: has no config/config.yaml; run `cryopipe init` first"),
        (["--dataset", "{set}"], "no folder to watch; give the folders in which tomograms arrive"),
        (
            ["{set}/x", "--dataset", "{set}"],
            "{set}/x: is not a directory; give the folder in which tomograms arrive",
        ),
    ],
)
def test_mistakes_are_told(
    dataset: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    names = {"in": tmp_path / "in", "set": dataset}
    with pytest.raises(SystemExit) as ended:
        main(["watch", *(argument.format(**names) for argument in arguments)])
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"Error: {message.format(**names)}\n"
    assert file_state(tmp_path / "absent") is None
