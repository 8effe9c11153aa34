"""The container's definition: its sections make an image that the workflow runs from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import TINY_TRANSFER, TWO_JOBS, make_dataset

from cryopipe.config import CHECKOUT
from cryopipe.files.mrc import write_volume
from cryopipe.files.tables import read_table

DEFINITION = CHECKOUT / "envs" / "cryopipe.def"
BASE_PYTHON = f"{sys.base_prefix}/bin/python3"  # a virtual environment's own need not have pip


def section(name: str) -> str:
    """The lines of a section of the definition."""
    found = re.search(rf"^%{name}\n((?:(?:    .*)?\n)+)", DEFINITION.read_text() + "\n", re.M)
    assert found is not None, name
    return found[1]


def python_image(folder: Path) -> Path:
    """A Python with a pip of its own, as the image that the definition starts from has it."""
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = folder / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {BASE_PYTHON} -m pip --python {folder}/bin/python "$@"\n')
    pip.chmod(0o755)
    return folder / "bin"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_the_definition_builds_runs_the_workflow_though_nothing_in_it_can_be_written(
    tmp_path: Path,
) -> None:
    read_only = [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        'mount --bind "$0" "$0"; mount -o remount,ro,bind "$0"; exec "$@"',
    ]
    image, dataset = tmp_path / "image", tmp_path / "dataset"
    image.mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run([*read_only, str(image), "true"], check=False).returncode
    ):
        pytest.skip("no folder can be mounted read-only here")
    assert section("files").split() == [".", "/opt/cryopipe"]
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(image / "cryopipe")], check=True)
    variables = {
        **os.environ,
        "PATH": f"{python_image(image / 'python')}:/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
    }
    post = section("post").replace("/opt/cryopipe", str(image / "cryopipe"))
    subprocess.run(["sh", "-euc", post], env=variables, check=True, capture_output=True)

    def execute(*command: str, folder: Path = dataset) -> subprocess.CompletedProcess[str]:
        inside = ["sh", "-euc", section("runscript"), "run", *command]
        return subprocess.run(
            [*read_only, str(image), *inside],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    assert execute("touch", str(image / "file"), folder=tmp_path).returncode == 1
    write_volume(
        tmp_path / "a.mrc", np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32), 10.0
    )
    begun = execute("cryopipe", "init", str(dataset), str(tmp_path / "a.mrc"), folder=tmp_path)
    assert begun.returncode == 0, begun.stderr
    snakefile = (dataset / "Snakefile").read_text()
    assert str(CHECKOUT) not in snakefile
    assert str(image / "cryopipe") not in snakefile  # the package runs as it is installed
    make_dataset(dataset, TINY_TRANSFER)
    done = execute("snakemake", *TWO_JOBS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert (dataset / "results" / "report" / "report.html").stat().st_size > 10_000
    assert (read_table(dataset / "results" / "export" / "summary.tsv")["particles"] > 0).any()
