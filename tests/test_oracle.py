"""The oracle of the benchmarks: the most probable class given the true maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import oracle, template_protocol
from benchmarks.box_sets import simulate_set
from benchmarks.class_scores import class_scores
from benchmarks.plan import BenchmarkPlan, read_plan
from benchmarks.task import Task
from cryopipe.alignment.search import shift_grid
from cryopipe.boxes import ArrayBoxes
from cryopipe.errors import ConfigError
from cryopipe.simulation.box_simulator import BoxSimulator
from cryopipe.simulation.phantoms import Phantom, stock_phantoms
from cryopipe.volume.geometry import rotation_grid

PLANS = Path(__file__).parents[1] / "benchmarks" / "plans"
CPU = torch.device("cpu")
QUICK = {"angular_step": 30.0, "resolution": 60.0, "views": 40}


def task(snr: float, phantoms: Sequence[Phantom], count: int, empty: bool = False) -> Task:
    """Return a task with `count` boxes of 16 voxels of each class, and of no particle if `empty`."""
    plan: BenchmarkPlan = read_plan(PLANS / "disca_table1_60.yaml")
    size = replace(plan.sizes["reduced"], box_size=16, boxes_per_class=count)
    plan = replace(
        plan,
        boxes={**plan.boxes, "voxel_size": 20.0, "tilt_step": 6},
        classes=replace(plan.classes, empty=empty),
        learners={"oracle": {"protocol": "oracle", **QUICK}},
    )
    labels = torch.arange(len(phantoms) + empty).repeat_interleave(count)
    boxes = simulate_set(phantoms, plan.box_options(size, snr, False), labels, CPU, 1)
    condition = replace(plan.conditions[0], snr=snr)
    return Task(plan, size, "oracle", [condition], boxes, phantoms, False, CPU, 1)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return stock_phantoms(3, 20.0, 45.0, 700, 120)


def test_the_oracle_finds_every_class_where_noise_is_weak(phantoms: list[Phantom]) -> None:
    (row,) = oracle.run(task(0.2, phantoms, 8, empty=True))
    assert row["condition"] == "SNR 0.1"
    assert row["accuracy"] == 1
    assert row["clusters"] == 4
    assert row["seconds"] > 0


def test_the_oracle_is_near_chance_where_the_boxes_do_not_tell_the_classes_apart(
    phantoms: list[Phantom],
) -> None:
    """The true labels serve to scale the maps only."""
    same = [phantoms[0], phantoms[0]]
    (row,) = oracle.run(task(0.2, same, 30))
    assert abs(row["accuracy"] - 0.5) < 0.2
    (noise,) = oracle.run(task(1e-5, phantoms, 20))
    assert abs(noise["accuracy"] - 1 / 3) < 0.2


def test_the_amplitude_of_a_map_is_that_of_regression_on_the_true_poses(phantoms: list[Phantom]) -> None:
    made = task(0.1, phantoms[:1], 30)
    simulator = BoxSimulator(phantoms[:1], made.plan.box_options(made.size, 0.1, False), CPU, 1)
    sampled = simulator.sample(torch.zeros(30, dtype=torch.long))
    clean = simulator.noise_free(sampled.labels, sampled.rotations, sampled.shifts)
    clean = clean - clean.mean(dim=(1, 2, 3), keepdim=True)
    boxes = ArrayBoxes(sampled.boxes.numpy(), (-60, 60), 20.0)
    band = oracle.band_to(60.0, 16, 20.0, CPU)
    found = oracle.Oracle(boxes, band, CPU)
    a, b = (band.coefficients(volumes) * found.wedges for volumes in (clean, sampled.boxes))
    expected = float((a.conj() * b).real.sum() / (a.abs() ** 2).sum())
    grid = torch.from_numpy(rotation_grid(20.0).as_matrix()).float()
    references = band.project(band.reference_grid(found.class_map(simulator, 0, 60)), grid)
    phases = band.shift_phases(shift_grid(1.0, 1.0, CPU))
    (scale,) = found.scales([references], phases, np.zeros(30, np.int64))
    assert scale == pytest.approx(expected, rel=0.15)


def test_template_matching_with_the_true_maps_finds_the_classes_and_no_particle(
    phantoms: list[Phantom],
) -> None:
    """The oracle, which knows the amplitudes, is at least as good."""
    made = task(0.1, phantoms, 12, empty=True)
    entry = {
        "protocol": "template",
        "learner": "template",
        "template": {"angular_step": 30, "resolution": 60, "max_shift": 20, "defocus": 5},
    }
    plan = replace(made.plan, learners={**made.plan.learners, "template": entry})
    (row,) = template_protocol.run(replace(made, plan=plan, name="template"))
    (best,) = oracle.run(made)
    assert row["accuracy"] > 0.8
    assert row["probe"] > 0.7
    assert best["accuracy"] >= row["accuracy"]


def test_unknown_options_of_the_oracle_are_named(phantoms: list[Phantom]) -> None:
    made = task(0.2, phantoms[:2], 2)
    plan = replace(made.plan, learners={"oracle": {"protocol": "oracle", "step": 3}})
    with pytest.raises(ConfigError, match="learner oracle: unknown 'step'; known are angular_step"):
        oracle.run(replace(made, plan=plan))


def test_classes_are_scored_by_number() -> None:
    truth = np.array([0, 0, 1, 1])
    assert class_scores(truth, truth) == {
        "accuracy": 1,
        "homogeneity": 1,
        "v_measure": 1,
        "least_f1": 1,
        "clusters": 2,
    }
    swapped = class_scores(truth, 1 - truth)
    assert swapped["accuracy"] == 0
    assert swapped["homogeneity"] == pytest.approx(1)
