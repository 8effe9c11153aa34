"""What a change of options, table or files makes a finished run do again: that, and no more."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import forked_snakemake
import numpy as np
import pytest
from finished_runs import (
    BASE,
    OF_A_CLUSTER,
    PAGE,
    TABLE,
    changed,
    configure,
    finish,
    options,
    redone,
    redone_rules,
    snakemake,
)

from cryopipe.cli.init import init
from cryopipe.config import complete
from cryopipe.files.mrc import write_volume
from cryopipe.provenance import record_path

ROWS = [
    line.strip("| ").split(" | ")
    for line in TABLE.findall(PAGE.read_text(encoding="utf-8"))[0].splitlines()[2:]
]
"""Options and rules of the table in the docs."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "dataset"
    finish(folder, BASE)
    return folder


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    """A copy with times and provenance as they were."""
    shutil.copytree(finished, tmp_path / "dataset")
    return tmp_path / "dataset"


def of_table(option: str) -> set[str]:
    """What the docs say of an option."""
    for names, rules in ROWS:
        if {f"`{option}`", f"`{option.partition('.')[0]}`"} & set(names.split(", ")):
            return set() if rules == "nothing" else set(rules.split(", "))
    raise AssertionError(f"{option} is not in the table of {PAGE.name}: run `python tests/finished_runs.py`")


def test_the_table_has_every_option() -> None:
    for option in options():
        of_table(option)


def test_order_spelling_and_stated_defaults_change_nothing(dataset: Path) -> None:
    written = {
        "reembedding": {"sigma": 2, "threshold": "sigma"},
        "averaging": {"merge": False, "initial_resolution": 65.0, "max_shift": 40.0, "symmetry": "C1"},
        "pick": {"threshold": 3.0, "diameters": [240.0]},
        "features": BASE["features"],
        "evidence": {"decoy_fraction": 0.33, **BASE["evidence"]},
        "export": {**BASE["export"], "subtomograms": False},
        "evaluation": {"radius": 80.0, **BASE["evaluation"]},
        "imaging": {"tilt_range": [-60.0, 60.0]},
        "seed": 1,
    }
    configure(dataset, written)
    assert redone(dataset) == set()


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("device", "cpu", set()),
        ("memory_gb", 8, set()),
        ("pick.threshold", 4, {"pick_particles"}),
        ("clustering.starts", 11, {"cluster_features"}),
        ("averaging.merge", True, {"merge_clusters"}),
        ("averaging.merge_correlation", 0.5, {"triage_averages"}),
        ("export.tilt_hand", 1, {"export"}),
    ],
)
def test_an_option_does_again_what_it_changes(
    dataset: Path, option: str, value: Any, expected: set[str]
) -> None:
    configure(dataset, changed(option, value))
    assert redone(dataset) - {"report"} == expected == of_table(option)


def test_one_more_format_is_exported(dataset: Path) -> None:
    (dataset / "results" / "export" / "dynamo.tsv").unlink()
    assert redone(dataset) == {"export"}


@pytest.mark.parametrize("seconds", [-86400, 0])
def test_a_tomogram_that_is_replaced_is_done_again_whatever_its_time(dataset: Path, seconds: int) -> None:
    path = dataset / "a.mrc"
    before = path.stat()
    if not seconds:
        path.write_bytes(b"longer")
    os.utime(path, (before.st_mtime + seconds, before.st_mtime + seconds))
    assert redone(dataset) == {"check_tomogram"}
    planned = re.findall(r"^(\w+) +\d+$", snakemake(dataset, "--dry-run", "--cores", "1"), re.M)
    assert {"pick_particles", "extract_subtomograms", "learn_features"} <= set(planned)


@pytest.mark.slow
def test_the_table_in_the_docs_is_what_dry_runs_plan(dataset: Path) -> None:
    """The first option of each row: every rule with a reason of its own is in the row, and the row's rules are planned."""
    values = options()
    named = [names.replace("`", "").split(", ") for names, _ in ROWS]
    assert {name.partition(".")[0] for names in named for name in names} == {
        option.partition(".")[0] for option in values
    }
    for names, (_, rules) in zip(named, ROWS, strict=True):
        option = next(one for one in values if one == names[0] or one.startswith(f"{names[0]}."))
        configure(dataset, changed(option, values[option]))
        row = set() if rules == "nothing" else set(rules.split(", "))
        said = snakemake(dataset, "--dry-run", "--cores", "1")
        planned = set(re.findall(r"^(\w+) +\d+$", said, re.M))
        assert redone_rules(said) - {"report"} <= row <= planned, option


def test_clusters_are_decoded_by_learners_that_can(dataset: Path) -> None:
    configure(dataset, changed("features.learner", "autoencoder"))
    said = snakemake(
        dataset, "--dry-run", "--cores", "1", "--rerun-triggers", "mtime", "--forcerun", "report"
    )
    assert re.search(r"^decode_cluster +2$", said, re.M), said
    for number in (1, 2):
        path = dataset / f"results/features/decoded/cluster_0{number}.mrc"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    snakemake(dataset, "--cores", "1", "--touch", "--forceall")
    assert redone(dataset) == set()


def test_a_result_without_provenance_is_done_again_when_its_options_change(dataset: Path) -> None:
    """A job that outlives its driver leaves results of which Snakemake knows nothing."""
    for path in (dataset / ".snakemake" / "metadata").rglob("*"):
        if path.is_file() and b"cluster_01" in base64.b64decode(path.name + "=="):
            path.unlink()
    config = complete(changed("seed", 1), "config.yaml")
    files = [f"results/{one.format('cluster_01')}" for one in OF_A_CLUSTER if one.startswith("averages/")]
    record = dataset / record_path("average_cluster", "01", config)
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"files": dict.fromkeys(files)}))
    assert redone(dataset) == set()
    configure(dataset, changed("averaging.symmetry", "C4"))
    said = snakemake(dataset, "--dry-run", "--cores", "1")
    assert re.search(r"^average_cluster +2$", said, re.M), said


def test_a_time_ahead_of_the_clock_stops_nothing(tmp_path: Path) -> None:
    configured = {"bad_tomograms": "skip"}
    (tmp_path / "config").mkdir()
    configure(tmp_path, configured)
    (tmp_path / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\n")
    write_volume(tmp_path / "a.mrc", np.random.default_rng(1).normal(size=(32, 32, 32)), 10.0)
    os.utime(tmp_path / "a.mrc", (4e9, 4e9))
    said = snakemake(tmp_path, "--cores", "1", "results/check/a.tsv")
    assert "a: warning: its time of change, 2096-10-02" in said
    assert "lies in the future; run `touch a.mrc`, or correct this computer's clock" in said
    assert "skew" not in said
    assert snakemake(tmp_path, "--cores", "1", "results/check/a.tsv").count("Nothing to be done") == 1
    os.utime(tmp_path / "a.mrc")
    assert "check_tomogram" in snakemake(tmp_path, "--dry-run", "--cores", "1", "results/check/a.tsv")


COMMANDS = ("--unlock", "--dag", "--rulegraph", "--summary", "--list", "--report")


@pytest.fixture(scope="module")
def initialised(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished dataset with the Snakefile that `cryopipe init` writes."""
    tomogram = tmp_path_factory.mktemp("tomograms") / "a.mrc"
    write_volume(tomogram, np.zeros((16, 16, 16), np.float32), 10.0)
    made = tmp_path_factory.mktemp("made")
    init(made, [tomogram])
    shutil.copy(made / "Snakefile", finished / "Snakefile")
    return finished


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_run_nothing_need_no_cores(initialised: Path, command: str) -> None:
    ran = forked_snakemake.snakemake(initialised, command)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", ["--unlock", "--rulegraph"])
def test_nor_do_they_in_the_checkout(finished: Path, command: str) -> None:
    assert snakemake(finished, command)
