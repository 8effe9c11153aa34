"""Template matching in boxes and in whole volumes: planted particles, the missing wedge, blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from aligned_sets import box_set, chain_map
from asymmetric import asymmetric_map
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.alignment import volume_matching
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, shift_grid
from cryopipe.alignment.template_matching import TemplateMatcher, noise_of_boxes
from cryopipe.alignment.volume_matching import ScoreMap, match_volume
from cryopipe.volume.geometry import angular_distance, random_rotations, rotation_grid
from cryopipe.volume.wedge import wedge_mask

CPU = torch.device("cpu")
STEP = 25.0
VOXEL = 10.0


def matrices(rotations: Rotation) -> torch.Tensor:
    return torch.from_numpy(rotations.as_matrix()).float().reshape(-1, 3, 3)


def matcher_of(boxes: NDArray[np.float32], ranges: NDArray[np.float64]) -> TemplateMatcher:
    """Return a matcher with the chain and, as second template, the balls."""
    band = Band(20, 7, CPU)
    templates = torch.stack([torch.from_numpy(chain_map(20)), asymmetric_map(20, scale=0.8)]).float()
    noise = noise_of_boxes(torch.from_numpy(boxes), ranges, band)
    search = Grid(matrices(rotation_grid(STEP)), shift_grid(2.0, 1.0, CPU))
    return TemplateMatcher(templates, band, noise, search)


def test_planted_particles_have_their_template_and_pose_within_the_step() -> None:
    made = box_set(24, noise=0.6, seed=3)
    matcher = matcher_of(made.boxes, made.tilt_ranges)
    found = matcher.match(torch.from_numpy(made.boxes), made.tilt_ranges)
    assert found.scores.shape == (24, 2)
    assert (found.scores[:, 0] > found.scores[:, 1]).all()
    assert float(found.scores.abs().max()) <= 1
    rotations = rotation_grid(STEP)[found.rotations[:, 0].numpy()]
    # The best rotation of the grid need not be the nearest one.
    errors = angular_distance(rotations, made.rotations)
    assert np.median(errors) < STEP
    assert (errors < 2 * STEP).mean() > 0.9
    shifts = matcher.search.shifts_voxels[found.shifts[:, 0]].numpy()
    assert np.median(np.linalg.norm(shifts - made.shifts, axis=1)) < 1.0


def test_scores_are_those_of_the_definition() -> None:
    made = box_set(3, noise=0.5, seed=4)
    matcher = matcher_of(made.boxes, made.tilt_ranges)
    found = matcher.match(torch.from_numpy(made.boxes), made.tilt_ranges)
    band, wedge = matcher.band, torch.from_numpy(made.tilt_ranges)
    for index in range(3):
        volume = torch.from_numpy(made.boxes[index : index + 1])
        inside = volume_matching.measured(band.frequencies, tuple(wedge[index].tolist()))
        box = band.coefficients(volume)[0] / matcher.noise * inside
        pose = matcher.search.matrices[found.rotations[index, 1]][None]
        shift = matcher.search.shifts_voxels[found.shifts[index, 1]][None]
        template = asymmetric_map(20, scale=0.8)
        model = band.project(band.reference_grid(template), pose) * band.shift_phases(shift)
        model = model[0] / matcher.noise * inside
        expected = (box.conj() * model).sum().real / (box.norm() * model.norm())
        assert float(found.scores[index, 1]) == pytest.approx(float(expected), abs=1e-4)
        assert float(found.power[index]) == pytest.approx(float(box.norm() ** 2), rel=1e-4)


def test_what_is_outside_the_wedge_of_a_box_does_not_change_its_scores() -> None:
    ranges = np.array([[-60.0, 60.0], [-40.0, 50.0]])
    rng = np.random.default_rng(5)
    boxes = torch.from_numpy(rng.normal(size=(2, 20, 20, 20)).astype(np.float32))
    matcher = matcher_of(boxes.numpy(), ranges)
    noise = torch.from_numpy(rng.normal(size=(2, 20, 20, 20)).astype(np.float32))
    missing = torch.stack([1 - wedge_mask(20, tuple(one)) for one in ranges.tolist()])
    added = torch.fft.ifftn(torch.fft.fftn(noise, dim=(1, 2, 3)) * missing, dim=(1, 2, 3)).real
    found, other = (matcher.match(one, ranges) for one in (boxes, boxes + 5 * added))
    torch.testing.assert_close(found.scores, other.scores, atol=1e-3, rtol=0)
    mirrored = matcher.match(boxes + 5 * added, ranges[::-1])
    assert float((mirrored.scores - found.scores).abs().max()) > 0.01


def test_volumes_of_coefficients_have_these_coefficients() -> None:
    for size in (15, 16):
        band = Band(size, 6, CPU)
        volumes = torch.randn(2, size, size, size, generator=torch.Generator().manual_seed(1))
        coefficients = band.coefficients(volumes)
        limited = band.volumes(coefficients)
        torch.testing.assert_close(band.coefficients(limited), coefficients, atol=1e-3, rtol=1e-4)
        # Nothing else is in it.
        power = (torch.fft.fftn(limited, dim=(1, 2, 3)).abs() ** 2).sum(dim=(1, 2, 3))
        torch.testing.assert_close(power, 2 * (coefficients.abs() ** 2).sum(dim=1), rtol=1e-4, atol=1e-3)


PLACES = np.array([[11, 12, 33], [25, 30, 12], [26, 10, 11]])
"""Centres of planted particles, z, y, x."""
POSES = random_rotations(3, np.random.default_rng(8))
NEAR = Rotation.from_rotvec([0.0, 0.2, 0.1]) * POSES
"""Rotations 13 degrees from the planted ones, among others."""
GRID = Rotation.concatenate([random_rotations(60, np.random.default_rng(9)), NEAR])


def planted(noise: float = 0.5, seed: int = 1) -> NDArray[np.float32]:
    """Return a volume (z, y, x) with three chains and a bright sphere, behind a wedge of 60 degrees, in noise."""
    rng = np.random.default_rng(seed)
    volume = np.zeros((36, 40, 44))
    for place, pose in zip(PLACES, POSES, strict=True):
        inside = tuple(slice(one - 8, one + 8) for one in place)
        volume[inside] += chain_map(16, pose)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"))
    volume[np.linalg.norm(grid - np.array([26, 30, 34])[:, None, None, None], axis=0) < 4] += 3.0
    volume += noise * rng.normal(size=volume.shape)
    wedge = wedge_mask(volume.shape, (-60.0, 60.0)).numpy()
    return np.fft.ifftn(np.fft.fftn(volume) * wedge).real.astype(np.float32)


def matched(
    volume: Any, tilt_range: tuple[float, float] = (-60.0, 60.0), rotations: Rotation = GRID
) -> ScoreMap:
    template = torch.from_numpy(chain_map(16)).float()
    return match_volume(volume, template, matrices(rotations), tilt_range, VOXEL, 35.0)


def test_planted_particles_of_a_volume_are_its_best_peaks_with_their_rotations() -> None:
    found = matched(planted())
    assert found.scores.shape == found.rotations.shape == (36, 40, 44)
    assert float(np.abs(found.scores).max()) <= 1
    scores, seen = found.scores.copy(), set()
    for _ in range(3):
        peak = np.array(np.unravel_index(scores.argmax(), scores.shape))
        distance = np.linalg.norm(PLACES - peak, axis=1)
        nearest = int(distance.argmin())
        assert distance[nearest] <= 1.5
        assert angular_distance(GRID[int(found.rotations[tuple(peak)])], POSES[nearest])[0] < 15
        seen.add(nearest)
        scores[tuple(slice(max(0, one - 6), one + 7) for one in peak)] = 0
    assert seen == {0, 1, 2}


def test_the_right_wedge_scores_higher() -> None:
    volume = planted(noise=0.1)
    right, none = (matched(volume, wedge, NEAR) for wedge in ((-60.0, 60.0), (-90.0, 90.0)))
    at = tuple(PLACES.T)
    assert (right.scores[at] > none.scores[at]).all()
    assert (right.scores[at] > 0.8).all()


def test_bright_objects_do_not_score_because_they_are_bright() -> None:
    volume = planted()
    bright = volume.copy()
    volume[26, 30, 34] = volume.max()
    bright[26, 30, 34] = 50 * volume.max()
    weak, strong = (matched(one, rotations=NEAR).scores for one in (volume, bright))
    near = (slice(20, 32), slice(24, 36), slice(28, 40))
    assert strong[near].max() < weak[tuple(PLACES.T)].min()


class Watched:
    """A volume on disk: counts the voxels of the largest part read at a time."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values, self.shape, self.largest = values, values.shape, 0

    def __getitem__(self, window: Any) -> NDArray[np.float32]:
        part = self.values[window]
        self.largest = max(self.largest, part.size)
        return part


def test_blocks_do_not_change_the_scores_and_bound_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.tile(planted(), (1, 1, 4))
    whole = matched(volume, rotations=GRID[:8])
    monkeypatch.setattr(volume_matching, "BLOCK", 40)
    watched = Watched(volume)
    parts = matched(watched, rotations=GRID[:8])
    assert watched.largest < volume.size / 2.5
    # At the volume's faces, the mean of the block stands for what is outside.
    inner = (slice(9, -9), slice(9, -9), slice(9, -9))
    np.testing.assert_allclose(parts.scores[inner], whole.scores[inner], atol=0.005)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=0.05)
    assert (parts.rotations == whole.rotations).mean() > 0.98


def test_empty_volumes_score_zero() -> None:
    assert not matched(np.full((20, 24, 28), 7.0, np.float32), rotations=NEAR).scores.any()
    half = planted()
    half[:, :, 20:] = half.mean()
    found = matched(half, rotations=NEAR)
    assert np.isfinite(found.scores).all()
    assert not found.scores[:, :, -10:].any()
