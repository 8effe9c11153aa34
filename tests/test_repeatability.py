"""Repeatability: the same seed with the same number of threads, and with another one (docs/outputs.md).

Picks: `test_the_number_of_cores_does_not_change_a_single_bit`. What takes long where other processes want the second
core is marked slow and alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from aligned_sets import box_set
from test_averaging import QUICK, VOXEL
from test_clustering import options as clustering_options
from test_clustering import planted
from test_disca import CPU, TINY, two_classes, without_clock

from cryopipe.averaging import align_cluster
from cryopipe.clustering import find_clusters
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.job import limit_threads
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms

Result = TypeVar("Result")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Result]], tuple[Result, Result, Result]]:
    """Return a function that calls a stage with two threads, again with two, and with one."""

    def all_three(stage: Callable[[], Result]) -> tuple[Result, Result, Result]:
        before = torch.get_num_threads()
        try:
            return with_threads(2, stage), with_threads(2, stage), with_threads(1, stage)
        finally:
            limit_threads(before)

    def with_threads(count: int, stage: Callable[[], Result]) -> Result:
        limit_threads(count)
        assert torch.get_num_threads() == count
        return stage()

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    return all_three


def random_boxes() -> np.ndarray:
    """Boxes (40, 24, 24, 24) cut from noise."""
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(50, 70, 70)).astype(np.float32)
    cut = extract_subtomograms(
        volume, rng.uniform(5, 45, (40, 3)), 10.0, SubtomogramOptions(24, 13.0), "dark", rng
    )
    return np.concatenate([boxes for _, boxes in cut])


def test_boxes(runs: Callable) -> None:
    first, again, other = runs(random_boxes)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_allclose(other, first, atol=1e-5)


@pytest.mark.parametrize(("bfloat16", "tolerance"), [(False, 1e-5), (True, 0.02)])
def test_features_of_the_shipped_encoder(
    runs: Callable, bfloat16: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryopipe.features.training.devices.has_fast_bfloat16", lambda device: bfloat16)
    boxes = random_boxes()
    first, again, other = runs(lambda: create_learner("transfer", FeatureOptions(), CPU, 1).embed(boxes))
    np.testing.assert_array_equal(again, first)
    # Of length 1.
    np.testing.assert_allclose(other, first, atol=tolerance)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("bfloat16", "tolerance"), [(False, 0.01), (True, 0.1)])
def test_features_that_disca_learns(
    runs: Callable,
    bfloat16: bool,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cryopipe.features.training.devices.has_fast_bfloat16", lambda device: bfloat16)
    boxes, classes = two_classes(66, noise=0.25)
    # Unequal numbers: clusters are numbered by their size.
    boxes = boxes[(classes == 0) | (np.arange(len(classes)) < 48)]

    def learned() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        iterations = 1 if bfloat16 else 2  # bfloat16 takes long on processors that have to imitate it
        shortened = replace(TINY, disca=replace(TINY.disca, iterations=iterations))
        learner = create_learner("disca", shortened, CPU, 1)
        history = without_clock(learner.fit(boxes))
        features = learner.embed(boxes)
        options = clustering_options(clusters=(2, 3), starts=1)
        return history, features, find_clusters(features, options, seed=1).labels

    first, again, other = runs(learned)
    for mine, yours in zip(again, first, strict=True):
        np.testing.assert_array_equal(mine, yours)
    counted = ["iteration", "clusters", "agreement", "bad_steps"]
    np.testing.assert_array_equal(other[0][counted], first[0][counted])
    np.testing.assert_allclose(other[0], first[0], rtol=0.1)
    # The first component has variance 1. Training amplifies the rounding of the others, which are mostly noise.
    np.testing.assert_allclose(other[1][:, 0], first[1][:, 0], atol=tolerance)
    np.testing.assert_array_equal(other[2], first[2])


@pytest.mark.slow
@pytest.mark.alone
def test_clusters(runs: Callable) -> None:
    features = planted()[0][::4]
    options = clustering_options(clusters=(2, 4), starts=1)
    first, again, other = runs(lambda: find_clusters(features, options, seed=1))
    np.testing.assert_array_equal(again.labels, first.labels)
    np.testing.assert_array_equal(again.posteriors, first.posteriors)
    np.testing.assert_array_equal(other.labels, first.labels)
    np.testing.assert_allclose(other.posteriors, first.posteriors, atol=1e-6)


@pytest.mark.slow
@pytest.mark.alone
def test_averages(runs: Callable) -> None:
    truth = box_set(12, noise=0.25, seed=3)
    options = replace(QUICK, initial_models=1, initial_iterations=2, refinement_iterations=1, max_shift=15.0)
    first, again, other = runs(lambda: align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, options, seed=1))
    np.testing.assert_array_equal(again.average, first.average)
    np.testing.assert_array_equal(again.rotations.as_quat(), first.rotations.as_quat())
    np.testing.assert_array_equal(other.half_sets, first.half_sets)
    np.testing.assert_array_equal(other.kept, first.kept)
    np.testing.assert_allclose(other.average, first.average, atol=0.01 * np.abs(first.average).max())
    assert (other.rotations * first.rotations.inv()).magnitude().max() < np.radians(0.5)
    np.testing.assert_allclose(other.shifts_voxels, first.shifts_voxels, atol=0.05)
