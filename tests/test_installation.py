"""The package as a wheel installs it, and as a checkout holds it: both know where their workflow is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_runs import TINY_TRANSFER, make_dataset

from cryopipe import installation
from cryopipe.files.mrc import write_volume
from cryopipe.files.tables import read_table

CHECKOUT = Path(__file__).resolve().parents[1]
BASE_PYTHON = f"{sys.base_prefix}/bin/python3"  # a virtual environment's own need not have pip
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def test_a_checkout_is_its_own_workflow() -> None:
    assert installation.ROOT == CHECKOUT
    assert Path(installation.SNAKEFILE).is_file()


def test_jobs_of_a_checkout_import_its_library_and_nothing_else_comes_before() -> None:
    environment = {"PYTHONPATH": os.pathsep.join(["/mine", "/yours"])}
    for _ in range(2):  # every job reads the Snakefile again
        installation.put_checkout_first(environment)
        assert environment == {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), "/mine", "/yours"])}
    installation.put_checkout_first(bare := {})
    assert bare == {"PYTHONPATH": str(CHECKOUT)}


def test_jobs_of_a_wheel_keep_their_own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "ROOT", installation.IN_WHEEL)
    installation.put_checkout_first(environment := {})
    assert environment == {}


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
def dataset(python: Path, tmp_path: Path) -> Path:
    """A dataset directory that the installed command made."""
    noise = np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", noise, 10.0)
    answer(python.with_name("cryopipe"), "init", "my dataset", "a.mrc", folder=tmp_path)
    assert "1 tomogram: 1 ok" in answer(python.with_name("cryopipe"), "check", folder=tmp_path / "my dataset")
    return tmp_path / "my dataset"


@pytest.mark.slow
@pytest.mark.xdist_group("installation")
def test_a_wheel_holds_the_library_and_the_workflow_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not any("left_by_an_earlier_build" in name for name in names)
    assert {name.split("/")[0] for name in names} == {"cryopipe", wheel.name.split("-py3")[0] + ".dist-info"}
    workflow = files_of_the_checkout("Snakefile", "workflow", "scripts", "envs", "resources", "config")
    wanted = {*files_of_the_checkout("cryopipe"), *(f"cryopipe/_workflow/{name}" for name in workflow)}
    assert {name for name in names if name.startswith("cryopipe/")} == wanted


@pytest.mark.slow
@pytest.mark.xdist_group("installation")
@pytest.mark.timeout(1800)
def test_an_installed_wheel_makes_a_dataset_and_runs_it(python: Path, dataset: Path) -> None:
    assert str(CHECKOUT) not in (dataset / "Snakefile").read_text()
    make_dataset(dataset, TINY_TRANSFER)
    answer(python, "-m", "snakemake", "--cores", "2", folder=dataset)
    assert (dataset / "results" / "report" / "report.html").stat().st_size > 10_000
    assert (read_table(dataset / "results" / "export" / "summary.tsv")["particles"] > 0).any()


@pytest.mark.slow
@pytest.mark.xdist_group("installation")
@pytest.mark.timeout(1800)
def test_rules_of_an_installed_wheel_run_in_their_conda_environments(python: Path, dataset: Path) -> None:
    make_dataset(dataset, TINY_TRANSFER)
    lent = {
        "PATH": f"{Path(__file__).parent / 'standin' / 'bin'}:{os.environ['PATH']}",
        "STANDIN_PACKAGES": sysconfig.get_path("purelib"),
    }
    conda = ["--sdm", "conda", "--conda-prefix", "built"]
    targets = ("results/check/tomograms.tsv", "results/picks/demo_01.star")
    for arguments in (("--conda-create-envs-only",), targets):
        answer(python, "-m", "snakemake", "--cores", "2", *conda, *arguments, folder=dataset, **lent)
    assert len(list((dataset / "built").glob("*/pyvenv.cfg"))) >= 3
    assert all((dataset / target).is_file() for target in targets)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("slurm")
def test_jobs_on_a_cluster_use_the_installed_wheel(slurm: None, python: Path, dataset: Path) -> None:
    check = "results/check/a.tsv"
    answer(python, "-m", "snakemake", "--profile", "slurm", check, folder=dataset)
    assert read_table(dataset / check)["status"].tolist() == ["ok"]
    (log,) = (dataset / "logs" / "slurm").glob("rule_check_tomogram/**/*.log")
    # Snakemake's command on the node; the packages that the environment is lent have no cryopipe of their own
    assert f"--scheduler-solver-path {python.parent} " in log.read_text()


@pytest.mark.slow
@pytest.mark.xdist_group("installation")
def test_an_environment_without_cryopipe_says_so_in_one_line(dataset: Path, tmp_path: Path) -> None:
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(tmp_path / "other")], check=True)
    (packages,) = (tmp_path / "other").glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    other = tmp_path / "other" / "bin" / "python"
    said = answer(other, "-m", "snakemake", "--cores", "1", folder=dataset, succeeds=False)
    assert f"Error: {other} has no cryopipe; activate the environment" in said
    assert "Traceback" not in said
