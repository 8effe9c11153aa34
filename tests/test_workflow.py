"""The workflow: which jobs a configuration leads to, and how its mistakes are told.

Tomograms of zero bytes are enough: a dry run asks for no content.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import forked_snakemake
import pytest
import yaml

from cryopipe.config import CHECKOUT
from cryopipe.particle_formats import FORMATS

JOB_LINE = re.compile(r"^(\w+) +(\d+)$", re.M)
ONCE = {
    **{
        "all": 1,
        "gather_checks": 1,
        "learn_features": 1,
        "cluster_features": 1,
        "classify_particles": 1,
        "apply_curation": 1,
    },
    **{
        "mark_doubles": 1,
        "measure_leakage": 1,
        "measure_neighbourhood": 1,
        "triage_averages": 1,
        "merge_clusters": 1,
        "export": 2,
        "gather_exports": 1,
        "report": 1,
    },
}


def make_dataset(folder: Path, names: list[str], config: Mapping[str, Any], columns: str = "") -> None:
    """Write a table of zero-byte tomograms and a configuration."""
    (folder / "config").mkdir()
    rows = ["tomogram\tpath" + ("\tvoxel_size\ttilt_min\ttilt_max\tcontrast\tmask" if columns else "")]
    for name in names:
        (folder / f"{name}.mrc").touch()
        rows.append(f"{name}\t{name}.mrc" + columns)
    (folder / "config" / "tomograms.tsv").write_text("\n".join(rows) + "\n")
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(dict(config)))


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "1", "--directory", str(folder)]
    config = ["--configfile", str(folder / "config" / "config.yaml")]
    return forked_snakemake.snakemake(folder, *command, *config, *arguments)


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """The number of jobs of every rule in a dry run."""
    result = snakemake(folder, "--dry-run", *arguments)
    assert result.returncode == 0, result.stderr
    table = result.stdout.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in JOB_LINE.findall(table)}


def per_tomogram(count: int) -> dict[str, int]:
    rules = ("check_tomogram", "pick_particles", "extract_subtomograms", "reembed_averages")
    return {name: count for name in rules if count}


CASES: dict[str, tuple[list[str], dict[str, Any], dict[str, int]]] = {
    "one tomogram, nothing configured": (["a"], {}, {**ONCE, **per_tomogram(1)}),
    "three tomograms": (["a", "b", "c"], {}, {**ONCE, **per_tomogram(3)}),
    "the transfer encoder": (["a"], {"features": {"learner": "transfer"}}, {**ONCE, **per_tomogram(1)}),
    "DISCA": (["a"], {"features": {"learner": "disca"}}, {**ONCE, **per_tomogram(1)}),
    "contrastive": (["a"], {"features": {"learner": "contrastive"}}, {**ONCE, **per_tomogram(1)}),
    "a learner that decodes": (
        ["a"],
        {"features": {"learner": "autoencoder"}},
        {**ONCE, **per_tomogram(1), "decode_paths": 1},
    ),
    "affinity-VAE with maps": (
        ["a"],
        {"features": {"learner": "affinity", "affinity": {"maps": "maps"}}},
        {**ONCE, **per_tomogram(1), "decode_paths": 1},
    ),
    "template matching": (
        ["a"],
        {"features": {"learner": "template", "template": {"maps": "maps"}}},
        {**ONCE, **per_tomogram(1)},
    ),
    "several diameters": (["a", "b"], {"pick": {"diameters": [120, 250]}}, {**ONCE, **per_tomogram(2)}),
    "particles made elsewhere": (
        ["a", "b"],
        {"pick": {"particles": "a.mrc"}},
        {**ONCE, **per_tomogram(2), "read_particles": 1},
    ),
    "truth for scores": (
        ["a"],
        {"evaluation": {"truth": "{tomogram}_truth.star"}},
        {**ONCE, **per_tomogram(1), "evaluate": 1},
    ),
    "every export": (
        ["a"],
        {"export": {"formats": list(FORMATS)}},
        {**ONCE, **per_tomogram(1), "export": len(FORMATS)},
    ),
    "subtomograms for RELION": (["a"], {"export": {"subtomograms": True}}, {**ONCE, **per_tomogram(1)}),
    "averages at full resolution": (["a"], {"averaging": {"voxel_size": 5.0}}, {**ONCE, **per_tomogram(1)}),
    "skipping bad tomograms": (["a", "b"], {"bad_tomograms": "skip"}, {**ONCE, **per_tomogram(2)}),
}


@pytest.mark.parametrize("case", CASES)
def test_dry_run(case: str, tmp_path: Path) -> None:
    names, config, expected = CASES[case]
    make_dataset(tmp_path, names, config)
    (tmp_path / "a_truth.star").touch()
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "one.mrc").touch()
    assert planned(tmp_path) == expected


def test_the_rescan_is_planned_only_on_request(tmp_path: Path) -> None:
    make_dataset(tmp_path, ["a", "b"], {})
    plan = planned(tmp_path, "rescan")
    assert (plan["rescan_tomogram"], plan["rescan"], plan["triage_averages"]) == (2, 1, 1)
    assert not {"report", "export", "reembed_averages", "all"} & set(plan)


def test_the_demo_simulates_its_tomograms(tmp_path: Path) -> None:
    make_dataset(tmp_path, [], {})
    rows = ["tomogram\tpath", *(f"demo_0{n}\tresults/demo/demo_0{n}.mrc" for n in (1, 2))]
    (tmp_path / "config" / "tomograms.tsv").write_text("\n".join(rows) + "\n")
    assert planned(tmp_path) == {**ONCE, **per_tomogram(2), "simulate_tomogram": 2}


def test_a_target_of_one_stage_needs_no_more(tmp_path: Path) -> None:
    make_dataset(tmp_path, ["a", "b"], {})
    assert planned(tmp_path, "results/picks/b.star") == {"check_tomogram": 1, "pick_particles": 1}


def test_the_catalog_entry_plans_the_same(tmp_path: Path) -> None:
    make_dataset(tmp_path, ["a"], {})
    planned_there = planned(tmp_path, "--snakefile", str(CHECKOUT / "workflow" / "Snakefile"))
    assert {**planned(tmp_path), "everything": 1} == {**planned_there, "all": 1}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sede": 1}, "sede: unknown option 'sede'; did you mean 'seed'?"),
        ({"tomograms": "absent.tsv"}, "absent.tsv: no such file; run `cryopipe init` or set `tomograms`"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    make_dataset(tmp_path, ["a"], config)
    result = snakemake(tmp_path, "--dry-run")
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert message in said
    assert "Traceback" not in said


def test_a_thousand_tomograms_are_planned(tmp_path: Path) -> None:
    names = [f"t{number:04d}" for number in range(1000)]
    make_dataset(tmp_path, names, {})
    assert planned(tmp_path) == {**ONCE, **per_tomogram(1000)}
