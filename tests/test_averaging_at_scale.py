"""Large clusters: a part of each half-set is refined, and the other boxes follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryopipe.averaging import AveragingOptions, align_cluster
from cryopipe.averaging.alignment import AlignmentResult
from tests.aligned_sets import BoxSet, box_set, pose_errors

VOXEL = 10.0
OPTIONS = AveragingOptions(
    initial_models=2,
    initial_iterations=9,
    initial_resolution=50.0,
    max_shift=25.0,
    refinement_iterations=4,
    angular_step=20.0,
    refinement_boxes=30,
)


@pytest.fixture(scope="module")
def truth() -> BoxSet:
    return box_set(90, noise=0.25, seed=3)


@pytest.fixture(scope="module")
def aligned(truth: BoxSet) -> AlignmentResult:
    return align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, OPTIONS, seed=1)


def test_boxes_that_follow_find_their_poses(truth: BoxSet, aligned: AlignmentResult) -> None:
    angles, shifts, _ = pose_errors(truth, aligned.rotations, aligned.shifts_voxels)
    # 60 of the 90 were refined: without poses for the others no more than two thirds could be right.
    assert np.median(angles) < 6
    assert np.mean(angles < 15) > 0.8
    assert np.median(shifts) < 0.5


def test_all_boxes_make_the_average(truth: BoxSet, aligned: AlignmentResult) -> None:
    assert sorted(np.bincount(aligned.half_sets)[1:]) == [45, 45]
    assert aligned.kept.mean() > 0.85
    assert (aligned.scores > 0).all()


def test_enough_boxes_to_refine_are_as_no_limit(truth: BoxSet) -> None:
    few = slice(0, 24)
    results = [
        align_cluster(
            truth.boxes[few], truth.tilt_ranges[few], VOXEL, replace(OPTIONS, refinement_boxes=limit), seed=1
        )
        for limit in (12, 10_000)
    ]
    np.testing.assert_array_equal(results[0].average, results[1].average)
