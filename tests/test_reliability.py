"""The noise class's rates and the reliability of posteriors: hand-made figures, and a small run."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.reliability import (
    EDGES,
    PosteriorOptions,
    assignment_rates,
    calibration_error,
    is_right,
    measure_posteriors,
    precision,
    reliability_bins,
)
from benchmarks.reliability_tables import posterior_section, reliability_table
from cryopipe.clustering import ClusteringOptions
from cryopipe.features import FeatureOptions
from cryopipe.features.learners.transfer import Transfer

CPU = torch.device("cpu")


class Shells(Transfer):
    """Features without weights: what lies in the shells about a box's centre."""

    def embed(self, boxes: object) -> NDArray[np.float32]:
        values = np.asarray(boxes)
        grid = np.indices(values.shape[1:]) - values.shape[1] // 2
        radius = np.sqrt(np.sum(grid**2, axis=0)).astype(int)
        return np.stack([values[:, radius == r].mean(axis=1) for r in range(4)], axis=1).astype(np.float32)


def test_rates_say_where_empty_boxes_go() -> None:
    empty = [True] * 5 + [False] * 5
    #         noise, own cluster 2 (with one particle), astray in 1 | particles
    labels = [0, 2, 2, 2, 1, 1, 1, 0, 2, 1]
    assert assignment_rates(empty, labels) == {
        "clusters": 2,
        "empty_unassigned": 0.2,
        "empty_in_own_clusters": pytest.approx(0.6),
        "empty_among_particles": 0.2,
        "particles_unassigned": 0.2,
        "particles_among_empty": 0.2,
    }
    alone = assignment_rates([True, True], [0, 1])
    assert alone["empty_unassigned"] == 0.5
    assert math.isnan(alone["particles_unassigned"])
    assert math.isnan(assignment_rates([False], [1])["empty_unassigned"])


def test_right_is_the_class_that_prevails() -> None:
    assert is_right([0, 0, 1, 1, 1], [1, 1, 1, 2, 2]).tolist() == [True, True, False, True, True]


def test_bins_cover_everything_and_the_error_is_that_of_the_gaps() -> None:
    table = reliability_bins([0.5, 0.6, 0.85, 1.0, 0.2], [True, False, True, True, False])
    assert table["low"].tolist() == [0.0, 0.5, 0.8, 0.99]
    assert table["count"].tolist() == [1, 2, 1, 1]
    assert table["right"].tolist() == [0, 0.5, 1, 1]
    assert calibration_error(table) == pytest.approx((0.2 + 2 * 0.05 + 0.15 + 0) / 5)
    assert precision(table) == 1
    assert math.isnan(precision(reliability_bins([0.6], [True])))


@pytest.mark.parametrize(("power", "error"), [(1.0, 0.0), (4.0, 0.75 - 31 / 80)])
def test_calibrated_posteriors_have_no_error(power: float, error: float) -> None:
    rng = np.random.default_rng(0)
    posteriors = rng.uniform(0.5, 1, 200_000)
    right = rng.uniform(size=len(posteriors)) < posteriors**power
    assert calibration_error(reliability_bins(posteriors, right)) == pytest.approx(error, abs=0.005)


def test_a_small_measurement_and_its_section() -> None:
    options = PosteriorOptions(
        classes=2, voxel_size=20.0, resolution=45.0, largest_radius=100.0, box_size=12, snrs=(2.0,),
        boxes_per_class=40, empty_boxes=40, seeds=(1, 2),
    )  # fmt: skip
    learner = Shells(FeatureOptions(), CPU, 1)
    runs = measure_posteriors(options, learner, CPU, ClusteringOptions(clusters=(3, 3), starts=3))
    assert len(runs.assignment) == 3 * 2
    mixed = runs.assignment[runs.assignment["contents"] == "particles and empty boxes"]
    shares = mixed[["empty_unassigned", "empty_in_own_clusters", "empty_among_particles"]].sum(axis=1)
    np.testing.assert_allclose(shares, 1)
    # noise looks like no particle at this SNR
    assert (mixed["empty_among_particles"] < 0.2).all()
    totals = runs.reliability.groupby(["number", "seed", "calibrated"])["count"].sum()
    assert (totals == 80).all()
    assert len(totals) == 2 * 2 * 2
    section = posterior_section(options, runs, "tiny", "one processor")
    assert "size **tiny**: 80 boxes of 2 procedural phantoms" in section
    assert section.count("\n| 2 | given | after |") == 1
    assert section.count("| 2 | empty boxes only |") == 1


def test_bins_of_all_seeds_are_pooled() -> None:
    row = {"snr": 0.1, "number": "given", "low": EDGES[4], "high": EDGES[5]}
    bins = pd.DataFrame(
        [
            {**row, "seed": 1, "calibrated": False, "count": 30, "right": 0.5, "posterior": 0.9},
            {**row, "seed": 2, "calibrated": False, "count": 10, "right": 0.9, "posterior": 0.9},
        ]
    )
    assert reliability_table(bins)[2] == "| 0.1 | given | 0.9 to 0.95 | 40 | 0.600 | 0 |  |"
