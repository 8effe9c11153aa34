"""The package as a wheel installs it, and as a checkout holds it: both know where their workflow is."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest
from installed import BASE_PYTHON, CHECKOUT, answer, files_of_the_checkout
from small_runs import TINY_TRANSFER, make_dataset

from cryopipe import installation


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


@pytest.mark.slow
def test_a_wheel_holds_the_library_and_the_workflow_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not any("left_by_an_earlier_build" in name for name in names)
    assert {name.split("/")[0] for name in names} == {"cryopipe", wheel.name.split("-py3")[0] + ".dist-info"}
    workflow = files_of_the_checkout("Snakefile", "workflow", "scripts", "envs", "resources", "config")
    wanted = {*files_of_the_checkout("cryopipe"), *(f"cryopipe/_workflow/{name}" for name in workflow)}
    assert {name for name in names if name.startswith("cryopipe/")} == wanted


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rules_of_an_installed_wheel_run_in_their_conda_environments(
    python: Path, installed_dataset: Path
) -> None:
    make_dataset(installed_dataset, TINY_TRANSFER)
    lent = {
        "PATH": f"{Path(__file__).parent / 'standin' / 'bin'}:{os.environ['PATH']}",
        "STANDIN_PACKAGES": sysconfig.get_path("purelib"),
    }
    conda = ["--sdm", "conda", "--conda-prefix", "built"]
    targets = ("results/check/tomograms.tsv", "results/picks/demo_01.star")
    for arguments in (("--conda-create-envs-only",), targets):
        answer(
            python, "-m", "snakemake", "--cores", "2", *conda, *arguments, folder=installed_dataset, **lent
        )
    assert len(list((installed_dataset / "built").glob("*/pyvenv.cfg"))) >= 3
    assert all((installed_dataset / target).is_file() for target in targets)


@pytest.mark.slow
def test_an_environment_without_cryopipe_says_so_in_one_line(installed_dataset: Path, tmp_path: Path) -> None:
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(tmp_path / "other")], check=True)
    (packages,) = (tmp_path / "other").glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    other = tmp_path / "other" / "bin" / "python"
    said = answer(other, "-m", "snakemake", "--cores", "1", folder=installed_dataset, succeeds=False)
    assert f"Error: {other} has no cryopipe; activate the environment" in said
    assert "Traceback" not in said
