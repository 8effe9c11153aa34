"""Centring on the common radial profile: known displacements, direction of shifts, classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from cryopipe.boxes import Boxes, ShiftedBoxes
from cryopipe.features import FeatureOptions, LearnedFeatures, Learner, learn_features
from cryopipe.features import centring as centring_module
from cryopipe.features.centring import Centring, _common_profile, find_centres
from cryopipe.files.features import read_features

CPU = torch.device("cpu")


def shell(size: int, centre: np.ndarray) -> np.ndarray:
    """A hollow sphere about `centre` x, y, z."""
    z, y, x = np.indices((size,) * 3)
    radius = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return np.exp(-((radius - 5) ** 2) / 2)


def displaced(count: int, size: int = 24, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shifts = np.clip(np.round(rng.normal(0, 1.5, size=(count, 3))), -2, 2)
    boxes = np.stack([shell(size, size // 2 + shift) for shift in shifts])
    boxes = boxes / boxes.std() + noise * rng.normal(size=boxes.shape)
    boxes -= boxes.mean(axis=(1, 2, 3), keepdims=True)
    return (boxes / boxes.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32), shifts


def test_displacements_of_hollow_particles_are_found() -> None:
    boxes, shifts = displaced(60)
    centring = find_centres(boxes, CPU, seed=0)
    # The centre is known up to a common displacement, because it is defined by the mean box.
    errors = centring.shifts_voxels - shifts
    errors -= np.round(np.median(errors, axis=0))
    assert np.mean(np.abs(errors).max(axis=1) <= 1) > 0.95
    assert np.abs(np.median(centring.shifts_voxels - shifts, axis=0)).max() <= 1


def test_the_profile_is_made_from_as_many_boxes_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, shifts = displaced(60)
    monkeypatch.setattr(centring_module, "PROFILE_BYTES", 12 * 24**3 * 40)
    taken: list[int] = []
    monkeypatch.setattr(
        centring_module,
        "_common_profile",
        lambda few, make=_common_profile: taken.append(len(few)) or make(few),
    )
    centring = find_centres(boxes, CPU, seed=0)
    assert taken == [40]
    errors = centring.shifts_voxels - shifts
    assert np.mean(np.abs(errors - np.median(errors, axis=0)).max(axis=1) <= 1) > 0.9


def test_particles_score_higher_than_noise() -> None:
    boxes, _ = displaced(60)
    noise = np.random.default_rng(1).normal(size=(20, 24, 24, 24)).astype(np.float32)
    scores = find_centres(np.concatenate([boxes, noise]), CPU, seed=0).scores
    assert scores[:60].min() > scores[60:].max()


def test_centred_boxes_move_the_particle_to_the_centre() -> None:
    shift = np.array([[2, -1, 3]])
    box = shell(24, 12 + shift[0])[None].astype(np.float32)
    centred = ShiftedBoxes(box, shift)
    inner = slice(4, 20)
    expected = shell(24, np.full(3, 12.0))
    np.testing.assert_allclose(centred[:1][0][inner, inner, inner], expected[inner, inner, inner], atol=1e-6)


def test_edges_are_filled_with_reproducible_noise() -> None:
    boxes = np.full((2, 16, 16, 16), 9.0, np.float32)
    centred = ShiftedBoxes(boxes, np.array([[0, 0, 0], [0, 0, 2]]))
    np.testing.assert_array_equal(centred[[0]], boxes[:1])
    moved = centred[np.array([1])][0]
    assert (moved[:-2] == 9).all()
    assert moved[-2:].std() == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(centred[:][1], moved)
    assert len(centred) == 2
    assert centred.shape == (2, 16, 16, 16)


def test_no_boxes_have_no_centres() -> None:
    centring = find_centres(np.zeros((0, 16, 16, 16), np.float32), CPU, seed=0)
    assert centring.shifts_voxels.shape == (0, 3)
    assert centring.scores.shape == (0,)


def two_classes() -> tuple[np.ndarray, np.ndarray]:
    hollow, shifts = displaced(40)
    solid = np.stack([np.exp(-(((np.indices((24,) * 3) - 12) ** 2).sum(axis=0)) / 18)] * 40)
    solid = solid / solid.std() + np.random.default_rng(3).normal(size=solid.shape)
    return np.concatenate([hollow, solid.astype(np.float32)]), np.concatenate([shifts, np.zeros((40, 3))])


def test_each_class_is_centred_on_its_own_profile() -> None:
    boxes, shifts = two_classes()
    classes = np.repeat([0, 1], 40)
    errors = find_centres(boxes, CPU, 0, classes).shifts_voxels - shifts
    for number in (0, 1):
        assert np.abs(np.median(errors[classes == number], axis=0)).max() <= 1
        assert np.mean(np.abs(errors[classes == number]).max(axis=1) <= 2) > 0.9


class Sums(Learner):
    """Simple learner: its features are sums over parts of a box."""

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        return pd.DataFrame({"iteration": [0]})

    def embed(self, boxes: Boxes) -> np.ndarray:
        values = boxes[np.arange(len(boxes))]
        return np.stack([values[:, 12, 12, 12], values[:, 10:14, 10:14, 10:14].mean(axis=(1, 2, 3))], axis=1)

    def save(self, path: object) -> None:
        raise NotImplementedError

    def load(self, path: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("centre", [True, False])
def test_features_are_those_of_the_centred_boxes(centre: bool) -> None:
    boxes, _ = two_classes()
    options = FeatureOptions(centre=centre)
    learner = Sums(options, CPU, 1)
    learned = learn_features(learner, boxes, options)
    centred = ShiftedBoxes(boxes, learned.centring.shifts_voxels)
    np.testing.assert_array_equal(learned.features, learner.embed(centred))
    assert (np.abs(learned.centring.shifts_voxels).max() > 0) == centre
    assert len(learned.history) == 1
    assert learn_features(learner, boxes[:0], options).centring.shifts_voxels.shape == (0, 3)


def test_learned_features_are_written_with_shifts_in_angstrom(tmp_path: Path) -> None:
    centring = Centring(np.array([[1, 0, -2], [0, 0, 3]]), np.array([0.5, 0.25]))
    learned = LearnedFeatures(np.eye(2, dtype=np.float32), centring, pd.DataFrame())
    learned.write(tmp_path / "features.npz", ["a/1", "a/2"], 12.5)
    names, features, arrays = read_features(tmp_path / "features.npz")
    assert names == ["a/1", "a/2"]
    np.testing.assert_array_equal(features, np.eye(2))
    np.testing.assert_array_equal(arrays["shifts"], [[12.5, 0, -25], [0, 0, 37.5]])
    np.testing.assert_array_equal(arrays["centring_scores"], [0.5, 0.25])
