"""A run of the whole workflow on one tiny simulated tomogram, and copies of it in which a part is to be done again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from cryopipe.config import CHECKOUT
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.features import read_features
from cryopipe.files.mrc import open_volume
from cryopipe.files.star import read_particles

TINY = {
    "simulation": {"size": [96, 96, 48], "copies": 6, "vesicles": 0, "tilt_step": 6},
    "subtomograms": {"box_size": 16, "voxel_size": 20},
    # a training that does not end early on any machine
    "features": {
        "learner": "disca",
        "clusters": [6, 6],
        "disca": {"iterations": 6, "copies": 1, "steps": 1, "stop_agreement": 1.1},
    },
    "clustering": {"clusters": [2, 2], "starts": 1},
    "averaging": {"initial_models": 1, "initial_iterations": 2, "refinement_iterations": 1},
    "report": {"embedding": "pca"},
}


# the same without training, where training is not what is tested
TINY_TRANSFER = {**TINY, "features": {"learner": "transfer"}}


TWO_JOBS = ("--cores", "2", "--max-threads", "1")
"""Two jobs of one thread at a time: threads would only wait for one another in volumes as small as these."""


def make_dataset(folder: Path, config: dict[str, Any] = TINY) -> None:
    """Write the configuration and the table of the tiny demo, over those of a folder that has some."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "config" / "tomograms.tsv").write_text("tomogram\tpath\ndemo_01\tresults/demo/demo_01.mrc\n")


def copy_without(unbroken: Path, folder: Path, *missing: str) -> Path:
    """Copy a finished run, its notes included, and remove the results that match the patterns `missing`.

    What lies downstream of them stays: name a target to make only what is missing.
    """
    shutil.copytree(unbroken, folder, dirs_exist_ok=True)
    for pattern in missing:
        found = list((folder / "results").glob(pattern))
        assert found, pattern
        for path in found:
            path.unlink()
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a driver on this machine, in a process group of its own."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), *TWO_JOBS]
    return subprocess.Popen(
        [*command, *arguments, "--configfile", "config/config.yaml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(folder: Path, *arguments: str, succeeds: bool = True) -> str:
    """Run a driver to its end and return what it said."""
    process = start(folder, *arguments)
    said, _ = process.communicate()
    assert (process.returncode == 0) == succeeds, said[-3000:]
    return said


def script_process(driver: subprocess.Popen[str], rule: str) -> psutil.Process:
    """Wait for the process that runs a rule's script, and return it."""
    while driver.poll() is None:
        for process in psutil.Process(driver.pid).children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if len(command) > 1 and "python" in command[0] and command[1].endswith(f".{rule}.py"):
                return process
        time.sleep(0.02)
    raise AssertionError(f"rule {rule} did not run: {driver.communicate()[0][-2000:]}")


def files_of(folder: Path) -> list[Path]:
    """All results, hidden ones included."""
    root = folder / "results"
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def assert_same_results(unbroken: Path, other: Path) -> None:
    """The same files, and the same features, clusters and maps in them."""
    assert files_of(other) == files_of(unbroken)
    results = [folder / "results" for folder in (unbroken, other)]
    names, features, _ = read_features(results[0] / "features" / "features.npz")
    again = read_features(results[1] / "features" / "features.npz")
    assert again[0] == names
    np.testing.assert_allclose(again[1], features, atol=1e-4)
    boxes = [BoxStack([root / "subtomograms" / "demo_01.h5"])[:] for root in results]
    np.testing.assert_array_equal(boxes[1], boxes[0])
    for name in ("picks/demo_01.star", "clusters/particles.star", "averages/particles.star"):
        first, second = (read_particles(root / name) for root in results)
        for column in first.columns:
            if first[column].dtype.kind == "f":
                np.testing.assert_allclose(second[column], first[column], atol=1e-3, err_msg=column)
            else:
                assert first[column].equals(second[column]), column
    maps = sorted(path for path in results[0].rglob("*.mrc"))
    assert len(maps) > 5
    for path in maps:
        same = results[1] / path.relative_to(results[0])
        np.testing.assert_allclose(open_volume(same), open_volume(path), atol=1e-3, err_msg=path.name)
