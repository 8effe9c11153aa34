"""The Slurm profile on a real Slurm: the command that users give, from the checkout and from a dataset.

Skipped where no Slurm can be started: the tests never touch a cluster that they did not start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from cryopipe.config import CHECKOUT
from cryopipe.files.mrc import write_volume

START = CHECKOUT.parent / "shared" / "slurm" / "start_slurm.sh"
TINY = {
    "simulation": {"size": [96, 96, 48], "copies": 6, "vesicles": 0, "tilt_step": 6},
    "subtomograms": {"box_size": 16, "voxel_size": 20},
    "features": {"learner": "transfer"},
    "clustering": {"clusters": [2, 2], "starts": 1},
    "averaging": {"starts": 1, "start_iterations": 2, "refinement_iterations": 1},
    "report": {"embedding": "pca"},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A one-node Slurm with room for the rules' threads, stopped at the end."""
    if not START.is_file() or os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no Slurm can be started here")
    variables = {**os.environ, "SLURM_SANDBOX_CPUS": "8"}
    started = subprocess.run(
        [str(START), "--fresh"], env=variables, capture_output=True, text=True, check=False
    )
    if started.returncode:
        pytest.skip(f"Slurm did not start: {started.stdout[-300:]}")
    yield
    subprocess.run([str(START.with_name("stop_slurm.sh"))], capture_output=True, check=False)


def run_on_slurm(folder: Path) -> subprocess.CompletedProcess[str]:
    """`snakemake --profile slurm`, as a user types it in `folder`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["snakemake", "--profile", "slurm"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def write_tiny_demo(folder: Path, config: dict[str, object]) -> None:
    """Put a demo of one small tomogram in the place of what `folder` is configured for."""
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump({**config, **TINY}))
    (folder / "config" / "tomograms.tsv").write_text("tomogram\tpath\ndemo_01\tresults/demo/demo_01.mrc\n")


def test_the_demo_from_the_checkout(slurm: None, tmp_path: Path) -> None:
    checkout = tmp_path / "cryopipe"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(checkout)], check=True)
    write_tiny_demo(checkout, {"evaluation": {"truth": "results/demo/{tomogram}_truth.star"}})
    result = run_on_slurm(checkout)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (checkout / "results" / "report" / "report.html").stat().st_size > 10_000
    assert list((checkout / "logs" / "slurm").rglob("*.log"))


def test_a_dataset_directory(slurm: None, tmp_path: Path) -> None:
    dataset = tmp_path / "my dataset"
    tomogram = tmp_path / "a.mrc"
    noise = np.random.default_rng(0).normal(size=(16, 32, 32)).astype(np.float32)
    write_volume(tomogram, noise, 10.0)
    command = [
        sys.executable,
        "-c",
        "from cryopipe.cli import main; main()",
        "init",
        str(dataset),
        str(tomogram),
    ]
    subprocess.run(command, check=True, capture_output=True)
    write_tiny_demo(dataset, {})
    result = run_on_slurm(dataset)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (dataset / "results" / "report" / "summary.txt").is_file()
