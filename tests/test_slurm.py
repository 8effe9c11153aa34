"""The Slurm profile on a real Slurm: the command that users give, from the checkout and from a dataset.

Skipped where no Slurm can be started: the tests never touch a cluster that they did not start.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from installed import answer
from small_runs import TINY_TRANSFER, make_dataset
from test_environments import RULES_OF_A_RUN, TRUTH

from cryopipe.cli import main
from cryopipe.config import CHECKOUT
from cryopipe.evaluation.pick_scores import ALL
from cryopipe.files.mrc import write_volume
from cryopipe.files.tables import read_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def start_on_slurm(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`snakemake --profile slurm`, as a user types it in `folder`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["snakemake", "--profile", "slurm", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_on_slurm(folder: Path, *arguments: str, succeeds: bool = True) -> str:
    """Run a driver to its end and return what it said."""
    driver = start_on_slurm(folder, *arguments)
    said, _ = driver.communicate()
    assert (driver.returncode == 0) == succeeds, said[-3000:]
    return said


def init_dataset(folder: Path) -> Path:
    """A dataset directory of one tomogram of noise, as `cryopipe init` makes it."""
    noise = np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32)
    write_volume(folder / "a.mrc", noise, 10.0)
    with pytest.raises(SystemExit) as caught:
        main(["init", str(folder / "my dataset"), str(folder / "a.mrc")])
    assert not caught.value.code
    return folder / "my dataset"


def script_on_a_node(folder: Path, rule: str) -> psutil.Process:
    """Wait for the process that runs a rule's script for the dataset `folder`, and return it."""
    for _ in range(6000):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if len(command) > 1 and command[1].endswith(f".{rule}.py") and process.cwd() == str(folder):
                    return process
        time.sleep(0.02)
    raise AssertionError(f"rule {rule} did not run")


def accounts(said: str, *columns: str) -> list[list[str]]:
    """What Slurm's accounting knows of the jobs of a driver that said `said`, in the order of their submission."""
    run_id = re.search(r"SLURM run ID: (\S+)", said)
    assert run_id is not None, said
    command = ["sacct", "-n", "-X", "-P", "--name", run_id[1], "-o", ",".join(columns)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split("|") for line in told.splitlines()]


def test_every_rule_of_a_run_from_the_checkout(slurm: None, tmp_path: Path) -> None:
    checkout = tmp_path / "cryopipe"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(checkout)], check=True)
    make_dataset(checkout, {**TINY_TRANSFER, "evaluation": {"truth": TRUTH}})
    run_on_slurm(checkout)
    picking = read_table(checkout / "results" / "evaluation" / "picking.tsv")
    assert (picking.loc[picking["class"] == ALL, "recall"] >= 0.9).all()
    assert (checkout / "results" / "report" / "report.html").stat().st_size > 10_000
    submitted = {path.name for path in (checkout / "logs" / "slurm").iterdir()}
    assert submitted >= {f"rule_{name}" for name in RULES_OF_A_RUN - {"decode_cluster", "decode_paths"}}


PICKS = "results/picks/a.star"


def test_jobs_over_their_memory_and_over_their_time_come_back_with_more(slurm: None, tmp_path: Path) -> None:
    dataset = init_dataset(tmp_path)
    limits = ["check_tomogram:mem_mb=attempt ** 3 * 100", "pick_particles:runtime=attempt"]
    driver = start_on_slurm(dataset, PICKS, "--set-resources", *limits)
    script_on_a_node(dataset, "pick_particles").suspend()  # it will not end in its one minute
    said, _ = driver.communicate()
    assert driver.returncode == 0, said[-3000:]
    assert said.count("Trying to restart job") == 2
    small, enough, hung, done = accounts(said, "ReqMem", "TimelimitRaw", "State")
    assert (small[:2], enough[:2]) == (["100M", "120"], ["800M", "240"])
    assert small[2] != "COMPLETED"
    assert (hung[1], hung[2]) == ("1", "TIMEOUT")
    assert (done[1], done[2]) == ("2", "COMPLETED")
    assert os.listdir(dataset / "results" / "picks") == ["a.star"]
    picked = (dataset / PICKS).read_bytes()
    (dataset / PICKS).unlink()
    run_on_slurm(dataset, PICKS, "--executor", "local", "--cores", "1")
    assert (dataset / PICKS).read_bytes() == picked


def test_after_the_driver_was_killed_its_jobs_end_and_the_same_command_goes_on(
    slurm: None, tmp_path: Path
) -> None:
    dataset = init_dataset(tmp_path)
    driver = start_on_slurm(dataset, PICKS)
    job = script_on_a_node(dataset, "pick_particles")
    job.suspend()
    driver.send_signal(signal.SIGKILL)
    killed, _ = driver.communicate()
    assert "Directory cannot be locked" in run_on_slurm(dataset, PICKS, succeeds=False)
    job.resume()
    while any(state == ["RUNNING"] for state in accounts(killed, "State")):
        time.sleep(1)
    assert accounts(killed, "State") == [["COMPLETED"], ["COMPLETED"]]
    made = (dataset / PICKS).stat().st_mtime_ns
    run_on_slurm(dataset, "--unlock")
    said = run_on_slurm(dataset, PICKS)
    assert "Nothing to be done" in said
    assert (dataset / PICKS).stat().st_mtime_ns == made


@pytest.fixture
def as_from_a_terminal() -> Iterator[None]:
    """Programs started here listen to Ctrl-C, even where a shell runs the tests in the background, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(
    slurm: None, as_from_a_terminal: None, tmp_path: Path
) -> None:
    dataset = init_dataset(tmp_path)
    driver = start_on_slurm(dataset, PICKS)
    script_on_a_node(dataset, "pick_particles").suspend()  # it would be done too soon
    driver.send_signal(signal.SIGINT)
    stopped, _ = driver.communicate()
    assert driver.returncode == 1
    assert "Traceback" not in stopped
    for _ in range(60):
        states = accounts(stopped, "State")
        if states[-1][0].startswith("CANCELLED"):
            break
        time.sleep(1)
    assert states[0] == ["COMPLETED"]
    assert states[-1][0].startswith("CANCELLED")
    assert not (dataset / PICKS).exists()
    run_on_slurm(dataset, PICKS)  # neither --unlock nor --rerun-incomplete is needed
    assert (dataset / PICKS).is_file()


def test_jobs_on_a_cluster_use_the_installed_wheel(
    slurm: None, python: Path, installed_dataset: Path
) -> None:
    check = "results/check/a.tsv"
    answer(python, "-m", "snakemake", "--profile", "slurm", check, folder=installed_dataset)
    assert read_table(installed_dataset / check)["status"].tolist() == ["ok"]
    (log,) = (installed_dataset / "logs" / "slurm").glob("rule_check_tomogram/**/*.log")
    # Snakemake's command on the node; the packages that the environment is lent have no cryopipe of their own
    assert f"--scheduler-solver-path {python.parent} " in log.read_text()
