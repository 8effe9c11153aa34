"""Classification by averages: merging, dividing, and likelihoods of boxes left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from aligned_sets import box_set
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, shift_grid
from cryopipe.alignment.spectra import Spectra
from cryopipe.classification import ClassificationOptions, classify_boxes, classify_particles
from cryopipe.classification.band_boxes import prepare_boxes
from cryopipe.classification.class_maps import maps_from_sums, same_in_all_folds
from cryopipe.classification.classify import folds_of_groups, number_of_starts
from cryopipe.classification.expectation import expect
from cryopipe.classification.interpolation import RotatedPoints
from cryopipe.clustering import ClusteringOptions
from cryopipe.volume.geometry import random_rotations, rotation_grid

CPU = torch.device("cpu")
VOXEL = 15.0
QUICK = ClassificationOptions("averages", resolution=75.0, angular_step=30.0, max_shift=0.0, rounds=1)


BENT = np.array(
    [[-5.0, 0.0, 0.0], [-2.5, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.5, 0.0], [0.0, 5.0, 0.0], [0.0, 5.0, 2.5]]
)
"""Balls of another handed chain; see `aligned_sets.CHAIN`."""


def mixed_set(counts: tuple[int, int], noise: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes of two chains, and their classes."""
    first = box_set(counts[0], 16, noise, seed=1, largest_shift=0.3).boxes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aligned_sets.CHAIN", BENT)
        patch.setattr("aligned_sets.WEIGHTS", np.ones(len(BENT)))
        second = box_set(counts[1], 16, noise, seed=2, largest_shift=0.3).boxes
    return np.concatenate([first, second]), np.repeat([0, 1], counts)


def classified(
    boxes: NDArray[np.float32],
    features: NDArray[np.float64],
    clusters: NDArray[np.int64],
    checkpoint: Path | None = None,
    options: ClassificationOptions = QUICK,
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    tilts = np.tile([-60.0, 60.0], (len(boxes), 1))
    groups = np.arange(len(boxes))
    found = classify_boxes(
        boxes, tilts, features, clusters, groups, VOXEL, 12 * VOXEL, options, 1, CPU, checkpoint
    )
    return found.labels, found.history


def test_rotated_points_interpolate_as_a_band_does() -> None:
    band = Band(16, 5, CPU)
    matrices = torch.from_numpy(random_rotations(7, np.random.default_rng(0)).as_matrix()).float()
    volumes = torch.randn(3, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    grids = torch.stack([band.reference_grid(volume) for volume in volumes])
    points = RotatedPoints(band, matrices)
    values = points.sample(grids)
    expected = torch.stack([band.project(grid, matrices) for grid in grids])
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    weights = torch.rand(values.shape, generator=torch.Generator().manual_seed(2))
    sums = torch.zeros(3, *band.empty_sums().shape)
    points.add(values, weights, sums)
    for number in range(3):
        one = band.empty_sums()
        band.interpolation_sums(values[number], weights[number], matrices, one)
        torch.testing.assert_close(sums[number], one, rtol=1e-4, atol=1e-3)


def test_maps_of_noise_do_not_describe_noise_that_is_left_out() -> None:
    boxes = np.random.default_rng(0).normal(size=(40, 16, 16, 16)).astype(np.float32)
    spectra = Spectra(boxes, np.tile([-60.0, 60.0], (40, 1)), CPU)
    band = Band(16, 5, CPU)
    search = Grid(torch.from_numpy(rotation_grid(50.0).as_matrix()).float(), shift_grid(0.0, 1.0, CPU))
    mask = torch.ones(16, 16, 16)
    log_likelihoods = []
    for folds in (np.arange(40) % 4, np.zeros(40, np.int64)):
        mine = prepare_boxes(spectra, band, folds)
        start = same_in_all_folds(band, torch.from_numpy(boxes[:1] * 0.2), mine.fold_count)
        found = expect(mine, start, mine.power.sqrt(), search, torch.zeros(40, 1))
        if mine.fold_count == 1:  # the boxes themselves: twice the same fold, so that nothing is left out
            sums = found.sums.repeat(1, 2, 1, 1)
            maps = maps_from_sums(band, sums, mask)
            maps = replace(maps, volumes=maps.volumes[:, :1])
        else:
            maps = maps_from_sums(band, found.sums, mask)
        again = expect(mine, maps, mine.power.sqrt(), search, torch.zeros(40, 1))
        log_likelihoods.append(float(again.log_likelihoods.mean()))
    left_out, itself = log_likelihoods
    assert left_out < 0.5
    assert itself > left_out + 2


@pytest.mark.slow
def test_clusters_of_one_structure_are_merged_and_others_are_not() -> None:
    boxes, truth = mixed_set((60, 40), noise=0.8)
    # Two clusters of each structure, with a tenth of the boxes in a wrong one.
    rng = np.random.default_rng(0)
    clusters = 2 * truth + rng.integers(0, 2, len(truth))
    wrong = rng.permutation(len(truth))[:10]
    clusters[wrong] = rng.integers(0, 4, 10)
    labels, history = classified(boxes, rng.normal(size=(100, 3)), clusters)
    assert set(labels) == {1, 2}
    assert np.mean(labels == truth + 1) > 0.95
    assert history["classes"].iloc[0] == 4
    likelihood = history.set_index("action")["log_likelihood"]
    assert likelihood["last"] > likelihood["first"]


def test_a_cluster_of_two_structures_is_divided() -> None:
    boxes, truth = mixed_set((60, 40), noise=0.8)
    rng = np.random.default_rng(0)
    # Features that tell the classes apart in three of four particles only.
    features = rng.normal(size=(100, 2)) + 1.35 * (2 * truth - 1)[:, None] * [1, 0]
    labels, _ = classified(boxes, features, np.zeros(100, np.int64))
    assert set(labels) == {1, 2}
    assert np.mean(labels == truth + 1) > 0.95


def test_one_structure_stays_one_class() -> None:
    boxes = box_set(60, 16, 0.8, seed=1, largest_shift=0.3).boxes
    rng = np.random.default_rng(1)
    labels, _ = classified(boxes, rng.normal(size=(60, 3)), rng.integers(0, 3, 60))
    assert set(labels) <= {0, 1}


@pytest.mark.slow
def test_an_interrupted_classification_continues_with_the_same_result(tmp_path: Path) -> None:
    boxes, truth = mixed_set((30, 20), noise=0.8)
    features = np.random.default_rng(0).normal(size=(50, 3))
    checkpoint = tmp_path / "classes.safetensors"
    whole, steps = classified(boxes, features, truth)

    class Killed(Exception):
        pass

    def kill(self: object, *_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryopipe.classification.classify.divide_mixed", kill)
        with pytest.raises(Killed):
            classified(boxes, features, truth, checkpoint)
    assert checkpoint.is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryopipe.classification.classify.initial_maps", kill)
        labels, history = classified(boxes, features, truth, checkpoint)
    np.testing.assert_array_equal(labels, whole)
    pd.testing.assert_frame_equal(history, steps)


def test_a_group_is_left_out_as_a_whole() -> None:
    groups = np.repeat(np.arange(30), np.arange(30) % 5 + 1)
    folds = folds_of_groups(groups, 4, np.random.default_rng(0))
    assert all(len(set(folds[groups == number])) == 1 for number in range(30))
    counts = np.bincount(folds)
    assert len(counts) == 4
    assert np.ptp(counts) <= 2


@pytest.mark.parametrize(
    ("particles", "clusters", "given", "expected"),
    [(1000, 3, None, 12), (1000, 10, None, 25), (100, 10, None, 5), (1000, 3, 30, 30), (10, 1, None, 1)],
)
def test_number_of_classes_at_the_start(
    particles: int, clusters: int, given: int | None, expected: int
) -> None:
    assert number_of_starts(particles, clusters, ClassificationOptions(start_classes=given)) == expected


def test_clusters_are_kept_without_averages_labels_or_enough_particles() -> None:
    table = pd.DataFrame({columns.CLASS: [1] * 50, columns.POSTERIOR: [0.9] * 50})
    features = np.zeros((50, 2))

    def unchanged(particles: pd.DataFrame, method: str) -> bool:
        options = ClassificationOptions(method=method)
        made, history = classify_particles(
            None,
            particles,
            features[: len(particles)],
            options,
            ClusteringOptions(),
            1,
            CPU,  # type: ignore[arg-type]
        )
        return made is particles and history.empty

    assert unchanged(table, "features")
    assert unchanged(table.assign(**{columns.CLASS_NAME: "ribosome"}), "averages")
    assert unchanged(table.iloc[:30], "averages")
    assert unchanged(table.assign(**{columns.POSTERIOR: [0.9] * 30 + [0.0] * 20}), "averages")
