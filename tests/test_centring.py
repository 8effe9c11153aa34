"""Centring on the boxes' own radial profile: known displacements are found, boxes are moved the right way."""

import numpy as np
import pytest
import torch

from cryopipe.features.centring import CentredBoxes, find_centres

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
    # All may be displaced by the mean displacement: nothing but the mean says where the centre is.
    errors = centring.shifts_voxels - shifts
    errors -= np.round(np.median(errors, axis=0))
    assert np.mean(np.abs(errors).max(axis=1) <= 1) > 0.95
    assert np.abs(np.median(centring.shifts_voxels - shifts, axis=0)).max() <= 1


def test_particles_score_higher_than_noise() -> None:
    boxes, _ = displaced(60)
    noise = np.random.default_rng(1).normal(size=(20, 24, 24, 24)).astype(np.float32)
    scores = find_centres(np.concatenate([boxes, noise]), CPU, seed=0).scores
    assert scores[:60].min() > scores[60:].max()


def test_centred_boxes_move_the_particle_to_the_centre() -> None:
    shift = np.array([[2, -1, 3]])
    box = shell(24, 12 + shift[0])[None].astype(np.float32)
    centred = CentredBoxes(box, shift)
    inner = slice(4, 20)
    expected = shell(24, np.full(3, 12.0))
    np.testing.assert_allclose(centred[:1][0][inner, inner, inner], expected[inner, inner, inner], atol=1e-6)


def test_what_comes_in_is_noise_and_stays_the_same() -> None:
    boxes = np.full((2, 16, 16, 16), 9.0, np.float32)
    centred = CentredBoxes(boxes, np.array([[0, 0, 0], [0, 0, 2]]))
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
