"""Whatever dies, and whenever: the same command goes on, and the results are those of an unbroken run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from small_runs import assert_same_results, copy_without, files_of, make_dataset, run, script_process, start

from cryopipe.files.tables import read_table

slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    make_dataset(folder)
    run(folder)
    return folder


@slow
def test_a_killed_job_stops_the_run_or_is_retried(unbroken: Path, tmp_path: Path) -> None:
    folder = copy_without(unbroken, tmp_path / "run", "averages/cluster_01*")
    for retries in ("0", "1"):
        driver = start(folder, "results/averages/cluster_01.mrc", "--retries", retries)
        script_process(driver, "average_cluster").send_signal(signal.SIGKILL)
        said, _ = driver.communicate()
        assert "Error in rule average_cluster" in said
        assert "logs/average_cluster/01.log" in said
        assert "Traceback" not in said
        if retries == "0":
            assert driver.returncode == 1
            assert "Fix the problem and run the same command again; completed jobs are kept." in said
            assert not list((folder / "results" / "averages").glob("cluster_01*"))
        else:
            assert "Trying to restart job" in said
            assert driver.returncode == 0, said[-2000:]
    assert_same_results(unbroken, folder)


@slow
def test_the_learner_killed_in_the_middle_goes_on_with_its_iteration(unbroken: Path, tmp_path: Path) -> None:
    folder = copy_without(unbroken, tmp_path / "run", "features/*", "clusters/*")
    log = folder / "logs" / "learn_features.log"
    log.unlink()
    driver = start(folder, "results/clusters/particles.star", "--retries", "1")
    learner = script_process(driver, "learn_features")
    while not log.is_file() or "iteration 3 of 6: embedding" not in log.read_text():
        assert learner.is_running(), log.read_text()
        time.sleep(0.01)
    learner.send_signal(signal.SIGKILL)
    said, _ = driver.communicate()
    assert driver.returncode == 0, said[-2000:]
    assert "Trying to restart job" in said
    told = log.read_text()
    found = re.search(r"resuming after iteration (\d) from results/features/checkpoint.safetensors", told)
    assert found is not None, told
    assert int(found[1]) >= 2
    assert f"iteration {found[1]} of 6" not in told
    history = [read_table(root / "results" / "features" / "history.tsv") for root in (unbroken, folder)]
    assert len(history[0]) >= 5
    same = {"rtol": 1e-4, "check_dtype": False}  # the last digits depend on how threads take turns
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in history), **same)
    assert_same_results(unbroken, folder)


@slow
def test_an_output_left_half_written_is_made_again(unbroken: Path, tmp_path: Path) -> None:
    target = "results/subtomograms/demo_01.h5"
    folder = copy_without(unbroken, tmp_path / "run", "subtomograms/*")
    driver = start(folder, target)
    script_process(driver, "extract_subtomograms")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    whole = (unbroken / target).read_bytes()
    (folder / target).write_bytes(whole[: len(whole) // 2])  # as a disk that lost its cache would leave it
    run(folder, "--unlock")
    said = run(folder, target, succeeds=False)
    assert "IncompleteFilesException" in said
    assert "--rerun-incomplete" in said
    assert target in said
    run(folder, target, "--rerun-incomplete")
    assert_same_results(unbroken, folder)


@slow
def test_a_second_driver_in_the_same_directory_is_refused(unbroken: Path, tmp_path: Path) -> None:
    folder = copy_without(unbroken, tmp_path / "run", "picks/*")
    first = start(folder, "results/picks/demo_01.star")
    picking = script_process(first, "pick_particles")
    picking.suspend()
    said = run(folder, succeeds=False)
    assert "Directory cannot be locked. Please make sure that no other Snakemake process" in said
    assert "--unlock" in said
    picking.resume()
    told, _ = first.communicate()
    assert first.returncode == 0, told[-2000:]
    assert_same_results(unbroken, folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a disk to fill cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@slow
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(unbroken: Path, small_disk: Path) -> None:
    target = "results/subtomograms/demo_01.h5"
    folder = copy_without(unbroken, small_disk / "run", "subtomograms/*")
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(free - 200_000))
    before = files_of(folder)
    said = run(folder, target, succeeds=False)
    assert [line for line in said.splitlines() if line.startswith("Error: ")] == [
        f"Error: {target}: cannot be written (No space left on device); "
        "free some space on that disk and run again"
    ]
    assert "Traceback" not in said
    assert files_of(folder) == before
    ballast.unlink()
    run(folder, target)
    assert_same_results(unbroken, folder)


WRITERS = {
    "a.mrc": "write_volume(path, np.ones((50, 50, 50)), 10.0)",
    "a.h5": "BoxWriter(path, 16, 10.0, (-60, 60), 'a') as writer: writer.append(np.ones((99, 16, 16, 16)), list('a' * 99))",
    "a.safetensors": "save_weights(path, {'a': torch.ones(99_999)}, {})",
    "a.npz": "write_features(path, ['a'] * 999, np.random.default_rng(0).normal(size=(999, 99)))",
    "a.star": "write_particles(path, pd.DataFrame({'x': np.arange(99_999)}))",
    "a.tsv": "write_table(path, pd.DataFrame({'x': np.arange(99_999)}))",
}
PROGRAM = """
import contextlib, os, resource, sys
import numpy as np, pandas as pd, torch
from cryopipe.errors import FileError
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.features import write_features
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles
from cryopipe.files.tables import write_table
from cryopipe.files.weights import save_weights
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
"""
ATTEMPT = """
path = {path!r}
try:
    {call}
except FileError as error:
    print(error)
"""


def test_every_kind_of_file_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    attempts = ""
    for name, call in WRITERS.items():
        call = f"with {call}" if name == "a.h5" else call
        attempts += ATTEMPT.format(path=str(tmp_path / name), call=call)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + attempts], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr  # nothing crashes on its way out, either
    assert ran.stdout.splitlines() == [
        f"{tmp_path / name}: cannot be written (File too large); the file exceeds the limit of file sizes (`ulimit -f`); "
        "raise that limit and run again"
        for name in WRITERS
    ]
    assert os.listdir(tmp_path) == []
