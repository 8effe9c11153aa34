"""A run that is killed at any moment, again and again, ends as an unbroken one does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from cryopipe.config import CHECKOUT
from cryopipe.files.mrc import open_volume
from cryopipe.files.star import read_particles

KILLS = 10
TINY = {
    "simulation": {"size": [96, 96, 48], "copies": 6, "vesicles": 0, "tilt_step": 6},
    "subtomograms": {"box_size": 16, "voxel_size": 20},
    "features": {"learner": "disca", "iterations": 2},
    "clustering": {"clusters": [2, 2], "starts": 1},
    "averaging": {"starts": 1, "start_iterations": 2, "refinement_iterations": 1},
    "report": {"embedding": "pca"},
}


def make_dataset(folder: Path) -> None:
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "config" / "tomograms.tsv").write_text("tomogram\tpath\ndemo_01\tresults/demo/demo_01.mrc\n")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "2"]
    return subprocess.Popen(
        [*command, "--configfile", "config/config.yaml", "--rerun-incomplete", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, *arguments: str) -> None:
    process = start(folder, *arguments)
    said, _ = process.communicate()
    assert process.returncode == 0, said[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times(tmp_path: Path) -> None:
    for name in ("unbroken", "killed"):
        make_dataset(tmp_path / name)
    finish(tmp_path / "unbroken")
    moments = random.Random(1)
    killed = 0
    for _ in range(KILLS):
        process = start(tmp_path / "killed")
        try:
            process.communicate(timeout=moments.uniform(2, 12))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
            time.sleep(0.5)
            finish(tmp_path / "killed", "--unlock")
    assert killed >= 3
    finish(tmp_path / "killed")
    results = [tmp_path / name / "results" for name in ("unbroken", "killed")]
    files = [sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()) for root in results]
    assert files[0] == files[1]
    first, second = (read_particles(root / "clusters" / "particles.star") for root in results)
    assert first.equals(second)
    for path in (results[0] / "averages").glob("*.mrc"):
        again = results[1] / "averages" / path.name
        np.testing.assert_allclose(open_volume(path), open_volume(again), atol=1e-4)
