"""The few-shot protocols of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.episode_protocol import episode_accuracy
from benchmarks.leaderboard import run_benchmark
from benchmarks.plan import read_plan, updated
from cryopipe.simulation.phantoms import stock_phantoms

PLAN = Path(__file__).parents[1] / "benchmarks" / "plans" / "practical_table1.yaml"


def gaussians(distance: float, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.repeat([0, 1], 400)
    features = np.random.default_rng(1).normal(size=(800, dimensions))
    features[truth == 1, 0] += distance
    return features.astype(np.float32), truth


def test_accuracy_is_that_of_gaussian_classes() -> None:
    """With many examples a distance of 2 standard deviations gives 84 %; one example of each class gives less."""
    features, truth = gaussians(2.0, 1)
    many = episode_accuracy(features, truth, 300, 1, episodes=200)
    one = episode_accuracy(features, truth, 1, 1, episodes=200)
    assert many == pytest.approx(0.841, abs=0.02)
    assert 0.6 < one < many - 0.04


def test_equal_classes_give_chance() -> None:
    features, truth = gaussians(0.0, 8)
    assert episode_accuracy(features, truth, 5, 1, episodes=300) == pytest.approx(0.5, abs=0.03)


def test_the_plan_runs_both_protocols_on_the_same_boxes() -> None:
    plan = read_plan(PLAN)
    small = updated(
        vars(plan.sizes["reduced"]), {"boxes_per_class": 20, "seeds": [1], "conditions": ["SNR 100"]}
    )
    object.__setattr__(plan, "sizes", {"reduced": type(plan.sizes["reduced"])(**small)})
    phantoms = stock_phantoms(3, 12.0, 30.0, 600, 100.0)
    names = ["five_shot_encoder", "one_shot_encoder"]
    board = run_benchmark(plan, "reduced", names, phantoms, torch.device("cpu"))
    assert board.runs["learner"].tolist() == names
    assert (board.runs["accuracy"] > 0.8).all()
