"""Fixtures and helpers for the package as a wheel installs it; conftest.py makes the fixtures known to all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from cryopipe.files.mrc import write_volume

CHECKOUT = Path(__file__).resolve().parents[1]
BASE_PYTHON = f"{sys.base_prefix}/bin/python3"  # a virtual environment's own need not have pip
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def files_of_the_checkout(*folders: str) -> list[str]:
    """The files that git knows, or would take in."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    told = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return [name for name in told.splitlines() if (CHECKOUT / name).exists()]


def variables(**more: str) -> dict[str, str]:
    """Variables of a process that must not find the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the checkout that then goes."""
    source = tmp_path_factory.mktemp("source") / "cryopipe"
    for name in files_of_the_checkout():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, source / name, follow_symlinks=False)
    stale = source / "build" / "lib" / "cryopipe" / "left_by_an_earlier_build.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    folder = source.parent / "dist"
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=source, env=variables(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.rmtree(source)
    (built,) = folder.glob("cryopipe-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel; what it depends on is lent by this environment."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # .pth files in there are not read: they would add this checkout
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [BASE_PYTHON, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return folder / "bin" / "python"


def answer(*command: object, folder: Path, succeeds: bool = True, **more: str) -> str:
    """Run a command to its end and return what it said."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=variables(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == succeeds, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def installed_dataset(python: Path, tmp_path: Path) -> Path:
    """A dataset directory that the installed command made."""
    noise = np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", noise, 10.0)
    answer(python.with_name("cryopipe"), "init", "my dataset", "a.mrc", folder=tmp_path)
    assert "1 tomogram: 1 ok" in answer(python.with_name("cryopipe"), "check", folder=tmp_path / "my dataset")
    return tmp_path / "my dataset"
