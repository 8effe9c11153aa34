"""Developers' targets are out of the users' workflow, and every one of them can be planned from anywhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import forked_snakemake
import pytest

from benchmarks.options import BenchmarkOptions, options_from_config
from cryopipe.config import CHECKOUT
from cryopipe.errors import ConfigError

DEVELOPERS = {
    "benchmark_affinity",
    *("benchmark_bounds", "benchmark_scale", "benchmark_tomograms", "benchmark_throughput"),
    *("benchmark_evidence", "benchmark_learning_curve"),
    *("benchmark_averages_table", "benchmark_numbers_of_classes"),
    *("benchmark_alike_species", "benchmark_alike_states"),
    *("benchmark_cssl_table1", "benchmark_disca_table1_40", "benchmark_disca_table1_60"),
    *(
        "benchmark_leaderboard",
        "benchmark_moebel_shrec",
        "benchmark_practical_table1",
        "benchmark_unseen_structures",
    ),
    *("benchmark_unassigned_and_posteriors", "full_benchmarks", "pretrain", "pretrain_source_classes"),
}
SNAKEFILE = str(CHECKOUT / "benchmarks" / "Snakefile")


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Snakemake in a folder."""
    return forked_snakemake.snakemake(folder, *arguments)


def test_users_see_none_of_the_developers_targets(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("tomograms: config/tomograms.tsv\n")
    (tmp_path / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\n")
    (tmp_path / "a.mrc").touch()
    shown = snakemake(tmp_path, "--snakefile", str(CHECKOUT / "Snakefile"), "--list")
    assert shown.returncode == 0, shown.stderr
    assert "pick_particles" in shown.stdout.split()
    assert [
        name for name in shown.stdout.split() if "bench" in name or "pretrain" in name or "cost" in name
    ] == []


def test_every_developers_target_is_planned_from_another_folder(tmp_path: Path) -> None:
    options = ("--snakefile", SNAKEFILE, "--directory", str(tmp_path / "out"))
    assert set(snakemake(tmp_path, *options, "--list").stdout.split()) >= DEVELOPERS
    planned = snakemake(tmp_path, *options, "--dry-run", "--quiet", "rules", "--", *sorted(DEVELOPERS))
    assert planned.returncode == 0, planned.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert snakemake(tmp_path, *options, "--unlock").returncode == 0


def test_options_of_benchmarks_are_checked_and_paths_start_at_the_checkout(tmp_path: Path) -> None:
    assert options_from_config({}, tmp_path) == BenchmarkOptions()
    maps = options_from_config({"templates": "maps", "encoder": "/own.safetensors"}, tmp_path)
    assert (maps.templates, maps.encoder) == (str(tmp_path / "maps"), "/own.safetensors")
    with pytest.raises(ConfigError, match=r"size: 'huge'; give one of auto, reduced, full"):
        options_from_config({"size": "huge"}, tmp_path)
    with pytest.raises(ConfigError, match=r"benchmarks/config\.yaml: unknown 'sise'"):
        options_from_config({"sise": "full"}, tmp_path)


@pytest.mark.slow
def test_planning_is_measured_by_one_command(tmp_path: Path) -> None:
    run = snakemake(
        *(tmp_path, "--snakefile", SNAKEFILE, "--directory", str(tmp_path), "--cores", "1"),
        "job_costs/tomograms_3.tsv",
    )
    assert run.returncode == 0, run.stderr
    rows = (tmp_path / "job_costs" / "tomograms_3.tsv").read_text().splitlines()
    assert [row.split("\t")[4] for row in rows[1:]] == [
        "plan up to the clusters", "plan from the clusters on", "what every job on a cluster begins with",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "job_costs").iterdir()) == ["tomograms_3.tsv"]
