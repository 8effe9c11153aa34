"""How a run was made: record of its start, changed options, paragraph, references, next steps."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryopipe import columns
from cryopipe.config import defaults
from cryopipe.files.run_record import commit_of, read_run_record, write_run_record
from cryopipe.report.methods import changed_options, methods_text, next_steps
from cryopipe.report.references import ENTRIES, bibliography
from cryopipe.report.results import RunResults, TomogramResult


def settings(**sections: dict[str, Any]) -> dict[str, Any]:
    """The defaults with some options changed."""
    changed = copy.deepcopy(defaults())
    for section, options in sections.items():
        changed[section] |= options
    return changed


@pytest.fixture
def results() -> RunResults:
    """Two tomograms, 1,200 picks, 1,000 particles: 700 and 200 in clusters, one of them a particle."""
    table = pd.DataFrame({columns.CLASS: np.repeat([1, 2, 0], [700, 200, 100]), columns.TOMOGRAM: "a"})
    return RunResults(
        check=pd.DataFrame(),
        tomograms=[TomogramResult(name, f"{name}.mrc", None, 13.48, 600, 500) for name in "ab"],
        particles=table,
        features=np.zeros((0, 2)),
        history=pd.DataFrame(),
        averages={},
        verdicts=pd.DataFrame(
            {"cluster": [1, 2], "verdict": ["particle", "noise"], "reason": ["good", "bad"]}
        ),
    )


def test_the_start_of_a_run_is_recorded(tmp_path: Path) -> None:
    write_run_record(tmp_path / "run.json", ["/x/snakemake", "--cores", "4", "a b"], tmp_path)
    record = read_run_record(tmp_path / "run.json")
    assert record["command"] == "snakemake --cores 4 'a b'"
    assert record["commit"] == ""
    assert {"python", "numpy", "torch", "snakemake"} <= set(record["versions"])
    assert re.search(r", \d+ cores, \d+ GB, ", record["computer"])
    (tmp_path / "run.json").write_text("[")
    assert read_run_record(tmp_path / "run.json") == {}


def test_the_commit_says_whether_files_were_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    commit = commit_of(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "file").write_text("2")
    assert commit_of(tmp_path) == f"{commit} with changes"


def test_options_that_differ_are_listed_without_those_of_learners_that_do_not_run() -> None:
    assert changed_options(defaults(), defaults()) == []
    changed = settings(pick={"threshold": 4.5, "diameters": [140.0, 300.0]}, features={"learner": "disca"})
    changed["features"]["disca"] = {**changed["features"]["disca"], "iterations": 7}
    changed["features"]["autoencoder"] = {**changed["features"]["autoencoder"], "epochs": 3}
    default = defaults()
    assert changed_options(changed, default) == [
        ("pick.diameters", "[140, 300]", "[240]"),
        ("pick.threshold", "4.5", "3"),
        ("features.learner", "disca", "transfer"),
        ("features.disca.iterations", "7", str(default["features"]["disca"]["iterations"])),
    ]


def test_the_paragraph_has_the_numbers_of_the_run(results: RunResults) -> None:
    text = methods_text(results, settings(pick={"threshold": 4.5}, features={"learner": "disca"}), "0.2.0")
    assert "2 tomograms were analysed without templates with cryopipe 0.2.0" in text
    assert "1,200 positions were picked" in text
    assert "for particles of 240 Å with a threshold of 4.5 robust standard deviations" in text
    assert "around 1,000 of them, and their features were learned with DISCA [zeng2023disca]" in text
    assert "assigned 900 particles to 2 clusters" in text
    assert text.endswith(
        "Clusters judged to be particles: cluster 1 (700 particles, resolution not reported)."
    )


def test_every_reference_of_the_paragraph_is_in_the_bibliography(results: RunResults) -> None:
    for learner in ("transfer", "disca", "autoencoder", "protonet", "contrastive", "template"):
        for method in ("mixtures", "splits"):
            chosen = settings(features={"learner": learner}, clustering={"method": method})
            cited = {
                key
                for keys in re.findall(r"\[([a-z0-9, ]+)\]", methods_text(results, chosen, "0"))
                for key in keys.split(", ")
            }
            written = set(re.findall(r"@\w+\{(\w+),", bibliography(chosen)))
            assert cited == written
    for key, entry in ENTRIES.items():
        assert entry.count("{") == entry.count("}"), key


def test_next_steps_name_the_very_files(results: RunResults, tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    chosen = settings(
        export={"formats": ["relion", "relion5", "warp", "artiax"], "relion_tomograms": "tomograms.star"}
    )
    steps = dict(next_steps(results, chosen, folder))
    root = folder / "results"
    assert (
        f"cp '{root}/relion'/particles.star ."
        in steps["RELION 3.1, positions (set `export.subtomograms: true` for boxes)"]
    )
    (relion5,) = (text for name, text in steps.items() if name.startswith("RELION 5"))
    assert relion5 == f"'{root}/relion5'/optimisation_set.star"
    assert (
        f"--input_star '{root}/warp'/particles_13.48A.star --coords_angpix 13.48"
        in steps["Warp, in the folder of its settings"]
    )
    assert steps["artiax: files in"] == f"'{root}/artiax'"
    chosen["export"]["relion_tomograms"] = None
    assert any(
        "name your project's tomograms.star" in name for name, _ in next_steps(results, chosen, folder)
    )
