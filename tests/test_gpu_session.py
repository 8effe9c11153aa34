"""The session on a GPU: its figures, its budgets, and a rehearsal on the processor."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from benchmarks import device_comparison, gpu
from benchmarks.device_comparison import (
    REHEARSAL,
    Difference,
    Side,
    compare_devices,
    failures,
    pose_difference,
    relative_difference,
    unmatched_fraction,
)
from benchmarks.gpu_parts import CPU, shortened
from benchmarks.plan_files import read_yaml
from cryopipe.config import CHECKOUT
from cryopipe.pretraining.recipe import recipe_from_mapping


def test_a_difference_passes_within_its_tolerance_and_never_without_a_value() -> None:
    assert Difference("x", 0.1, 0.1).passed
    assert not Difference("x", 0.11, 0.1).passed
    assert not Difference("x", float("nan"), 0.1).passed


def test_figures_of_difference_have_the_values_that_they_should() -> None:
    reference = np.array([-1, 1, -1, 1], np.float32)
    assert relative_difference(reference, reference + np.float32(0.5)) == pytest.approx(0.5)
    first, second = np.zeros((4, 3)), np.array([[0, 0, 0.5], [9, 9, 9]])
    assert unmatched_fraction(first, second, 1.0) == 0.5
    assert unmatched_fraction(first, np.zeros((0, 3)), 1.0) == 1.0
    poses = Rotation.random(20, rng=np.random.default_rng(1))
    frame, tilted = Rotation.from_euler("z", 70, degrees=True), Rotation.from_euler("x", 6, degrees=True)
    assert pose_difference(poses, poses * frame) == pytest.approx(0, abs=1e-4)
    half = [i % 2 for i in range(20)]
    mixed = Rotation.concatenate([p * (tilted if odd else frame) for p, odd in zip(poses, half, strict=True)])
    assert pose_difference(poses, mixed) > 20


def test_a_stage_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(first: Side, second: Side, extent: device_comparison.Extent) -> list[Difference]:
        raise RuntimeError("no kernel image")

    stages = {
        "a": broken,
        "b": lambda *_: [Difference("q", 2.0, 1.0)],
        "c": lambda *_: [Difference("q", 0, 1)],
    }
    monkeypatch.setattr(device_comparison, "STAGES", stages)
    seen: list[int] = []
    table = compare_devices(Side(CPU), Side(CPU), REHEARSAL, lambda rows: seen.append(len(rows)))
    assert table["error"].tolist() == ["RuntimeError: no kernel image", "", ""]
    assert failures(table) == ["a", "b"]
    assert seen == [1, 2, 3]


def test_a_recipe_is_shortened_by_stage_and_keeps_its_course() -> None:
    whole = recipe_from_mapping(read_yaml(CHECKOUT / "benchmarks" / "recipes" / "transfer_encoder.yaml"))
    short = shortened(whole, 0.01)
    assert [stage.boxes for stage in short.stages] == [768, 6000, 3000]
    assert short.stages[-1].rate(short.stages[-1].steps - 1) < 1e-4
    assert shortened(whole, 0.0).stages[0].steps == 1


def test_the_larger_recipe_differs_in_its_widths_alone() -> None:
    folder = CHECKOUT / "benchmarks" / "recipes"
    present, large = (
        recipe_from_mapping(read_yaml(folder / f"{name}.yaml"))
        for name in ("transfer_encoder", "large_encoder")
    )
    assert (present.classes, present.stages) == (large.classes, large.stages)
    assert large.widths == tuple(2 * width for width in present.widths)


def test_time_that_a_part_leaves_goes_to_those_that_follow_and_failures_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float] = []
    endings = iter([0, 1, 0, subprocess.TimeoutExpired("x", 1), 0])

    def ended(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        budgets.append(float(command[command.index("--seconds") + 1]))
        end = next(endings)
        if isinstance(end, Exception):
            raise end
        return subprocess.CompletedProcess(command, end)

    monkeypatch.setattr(gpu.subprocess, "run", ended)
    arguments = argparse.Namespace(out=tmp_path, minutes=2.0, device="cuda", rehearse=False, parts=None)
    outcomes = gpu.run_session(arguments)
    assert [one.status for one in outcomes] == ["passed", "failed", "passed", "stopped", "passed"]
    # every part ended at once, so that the last one has all the time
    assert budgets[-1] == pytest.approx(115 / 1.15, abs=1)
    assert budgets[0] == pytest.approx(115 / 1.15 * 18 / 98, abs=1)
    assert "| larger encoder | stopped |" in (tmp_path / "summary.md").read_text()


def test_throughput_of_a_session_goes_into_its_section_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "throughput.md").write_text("## a GPU\n\nfast\n")
    page = tmp_path / "page.md"
    page.write_text("# Throughput\n<!-- begin cpu -->\n## a processor\n<!-- end cpu -->\n")
    gpu.adopt(tmp_path, page)
    text = page.read_text()
    assert text.index("## a processor") < text.index("<!-- begin cuda -->\n## a GPU\n\nfast")


@pytest.mark.slow
def test_parts_that_fail_are_told_and_the_session_goes_on(tmp_path: Path) -> None:
    """There is no GPU here, or CUDA is hidden: every part fails in its own process."""
    command = [sys.executable, "-m", "benchmarks.gpu", str(tmp_path), "--parts", "comparison", "tables"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stdout.count("| failed |") == 2
    assert "status 1: Error: device is cuda" in ran.stdout
    assert ran.stdout == (tmp_path / "summary.md").read_text() + "\n"


@pytest.mark.slow
def test_a_rehearsal_on_the_processor_runs_every_part(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    script = str(CHECKOUT / "benchmarks" / "gpu.sh")
    ran = subprocess.run(
        [script, str(tmp_path), "20", "--device", "cpu", "--rehearse"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("| passed |") == 5
    assert {path.name for path in tmp_path.iterdir()} == {
        *("summary.md", "comparison.tsv", "throughput.md", "encoder.safetensors"),
        *("encoder_large.safetensors", "training.tsv", "tables.tsv", "log.txt"),
    }
    comparison = pd.read_csv(tmp_path / "comparison.tsv", sep="\t")
    assert set(comparison["stage"]) == set(device_comparison.STAGES)
    assert comparison["passed"].all()
    assert set(pd.read_csv(tmp_path / "tables.tsv", sep="\t")["encoder"]) == {
        "shipped", "encoder", "encoder_large",
    }  # fmt: skip
    history = pd.read_csv(tmp_path / "training.tsv", sep="\t")
    assert history.groupby("encoder")["stage"].max().to_dict() == {"encoder": 3, "encoder_large": 3}
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 16 * 2**20
