"""Benchmarks of the number of classes: boxes of every condition, phantoms that are alike, scores, and the protocol."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmarks.alike_phantoms import DIFFERENT_FRACTION, alike_phantoms
from benchmarks.class_scores import least_f1
from benchmarks.leaderboard import run_benchmark
from benchmarks.linear_probe import linear_probe
from benchmarks.plan import BenchmarkPlan, plan_from_mapping
from cryopipe.errors import ConfigError
from cryopipe.simulation.phantoms import stock_phantoms

FOLDER = Path(__file__).parents[1] / "benchmarks" / "plans"


def changed(**conditions: Any) -> BenchmarkPlan:
    content = yaml.safe_load((FOLDER / "numbers_of_classes.yaml").read_text(encoding="utf-8"))
    content["classes"].update(count=3, templates=["", "", ""])
    content["conditions"] = [{"name": name, **options} for name, options in conditions.items()]
    for size in content["sizes"].values():
        size["conditions"] = []
    content["sizes"]["reduced"].update(seeds=[1], box_size=16, boxes_per_class=4)
    content["boxes"].update(voxel_size=26.0, resolution=60)
    content["clusters"] = [1, 3]
    return plan_from_mapping("changed", content)


def test_every_condition_has_its_own_boxes() -> None:
    plan = changed(
        rare={"snr": 5.0, "boxes": [30, 4]}, empty={"snr": 5.0, "boxes": [0, 0, 0, 12]}, all={"snr": 5.0}
    )
    board = run_benchmark(
        plan, "reduced", ["floor"], stock_phantoms(3, 26.0, 60.0, 0, 140), torch.device("cpu")
    )
    rows = board.runs.set_index("condition")
    assert list(rows.index) == ["rare", "empty", "all"]
    assert rows["probe"].notna().to_dict() == {"rare": True, "empty": False, "all": True}
    assert rows.loc["empty", "homogeneity"] == 1


@pytest.mark.parametrize("boxes", [[0, 0], [1, 2, 3, 4, 5], []])
def test_wrong_numbers_of_boxes_are_refused(boxes: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"rare: boxes .*; give at most 4 numbers, not all 0"):
        changed(rare={"snr": 1.0, "boxes": boxes})


def test_the_class_found_worst() -> None:
    truth = np.repeat([0, 1, 2], [6, 3, 1])
    assert least_f1(truth, truth + 1) == 1
    clusters = np.array([1, 1, 1, 2, 2, 2, 3, 3, 3, 3])
    assert least_f1(truth, clusters) == pytest.approx(2 * 1 / (1 + 4))


def test_a_probe_needs_two_classes() -> None:
    assert np.isnan(linear_probe(np.zeros((5, 2), np.float32), np.zeros(5, np.int64), 1.0, 1))


@pytest.mark.parametrize("sort", ["species", "states"])
def test_alike_phantoms_have_a_common_core(sort: str) -> None:
    first, second = alike_phantoms(sort, 2, 13.33, 40.0, 9000)
    size = min(len(first.density), len(second.density))
    one, other = (
        value.density[tuple(slice(len(value.density) // 2 - size // 2, None) for _ in range(3))]
        [:size, :size, :size].ravel() for value in (first, second)
    )  # fmt: skip
    assert 0.6 < np.corrcoef(one, other)[0, 1] < 0.99
    assert second.mass == pytest.approx(first.mass, rel=2 * DIFFERENT_FRACTION * 0.3)
    assert [first.name, second.name] == [f"{sort}_1", f"{sort}_2"]
    assert first.mass == pytest.approx(2.5e6)


def test_classes_decided_by_averages_are_scored_beside_the_clusters() -> None:
    plan = changed(two={"snr": 3.0, "boxes": [24, 24]})
    entry = {"protocol": "averages", "learner": "radial",
             "classification": {"angular_step": 60, "rounds": 0, "resolution": 100, "start_classes": 2}}  # fmt: skip
    plan = replace(plan, learners={"averages": entry})
    board = run_benchmark(
        plan, "reduced", ["averages"], stock_phantoms(3, 26.0, 60.0, 0, 140), torch.device("cpu")
    )
    row = board.runs.iloc[0]
    assert row["accuracy"] > 0.9
    assert row["clusters"] == 2


def test_options_of_the_classification_are_checked() -> None:
    content = yaml.safe_load((FOLDER / "numbers_of_classes.yaml").read_text(encoding="utf-8"))
    wrong = copy.deepcopy(content)
    wrong["learners"]["averages"]["classification"] = {"angular_steps": 3}
    with pytest.raises(ConfigError, match="averages: classification: unknown 'angular_steps'"):
        plan_from_mapping("wrong", wrong)
