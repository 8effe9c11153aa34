from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryopipe.errors import ConfigError
from cryopipe.volume.geometry import (
    angular_distance,
    random_rotations,
    relion_angles,
    rotation_from_relion_angles,
    rotation_grid,
    symmetry_rotations,
)

ANGLE = st.floats(-180, 180, allow_nan=False)


@given(rot=ANGLE, tilt=st.floats(0, 180), psi=ANGLE)
def test_relion_angles_are_rz_psi_ry_tilt_rz_rot_inverted(rot: float, tilt: float, psi: float) -> None:
    def about(axis: str, angle: float) -> np.ndarray:
        return Rotation.from_euler(axis, angle, degrees=True).as_matrix()

    matrix = rotation_from_relion_angles(np.array([[rot, tilt, psi]])).as_matrix()[0]
    expected = about("z", -psi) @ about("y", -tilt) @ about("z", -rot)
    np.testing.assert_allclose(matrix, expected, atol=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_relion_angles_come_back(quaternion: list[float]) -> None:
    rotation = Rotation.from_quat(quaternion)
    angles = relion_angles(rotation)
    assert angles.shape == (1, 3)
    assert angular_distance(rotation, rotation_from_relion_angles(angles))[0] < 1e-5


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_no_warning_and_the_right_matrix_where_tilt_hides_an_angle(tilt: float) -> None:
    rotation = rotation_from_relion_angles(np.array([[40.0, tilt, 25.0]]))
    assert angular_distance(rotation, rotation_from_relion_angles(relion_angles(rotation)))[0] < 1e-5


def test_random_rotations_are_uniform() -> None:
    rotations = random_rotations(20_000, np.random.default_rng(3))
    # Of uniform rotations the angle has the density (1 - cos) / pi.
    angles = np.sort(rotations.magnitude())
    expected = (angles - np.sin(angles)) / np.pi
    assert np.abs(expected - np.linspace(0, 1, len(angles))).max() < 0.012
    np.testing.assert_allclose(rotations.apply([0, 0, 1]).mean(axis=0), 0, atol=0.02)


def test_random_rotations_follow_the_generator() -> None:
    a, b = (random_rotations(5, np.random.default_rng(7)).as_quat() for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("angle", [40.0, 25.0, 12.0])
def test_grid_covers_rotations_to_the_angle(angle: float) -> None:
    grid = rotation_grid(angle)
    probes = random_rotations(3000, np.random.default_rng(1))
    cosine = np.abs(probes.as_quat() @ grid.as_quat().T).max(axis=1)
    farthest = np.degrees(2 * np.arccos(np.clip(cosine, 0, 1))).max()
    assert 0.6 * angle < farthest <= angle


@pytest.mark.parametrize("symmetry", ["C3", "D2", "T", "O"])
def test_grid_of_a_symmetric_reference_is_smaller_and_still_covers(symmetry: str) -> None:
    grid = rotation_grid(15.0, symmetry)
    order = len(symmetry_rotations(symmetry))
    assert len(grid) < 2.5 * len(rotation_grid(15.0)) / order
    probes = random_rotations(60, np.random.default_rng(1))
    farthest = max(angular_distance(grid, probe, symmetry).min() for probe in probes)
    assert farthest <= 15.0


@pytest.mark.parametrize("angle", [0.0, -3.0, 200.0])
def test_grid_refuses_impossible_angles(angle: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 180"):
        rotation_grid(angle)


@pytest.mark.parametrize(
    ("symmetry", "order"), [("C1", 1), ("c7", 7), ("D1", 2), ("D2", 4), ("D7", 14), ("T", 12), ("O", 24)]
)
def test_symmetry_groups_have_their_order_and_are_closed(symmetry: str, order: int) -> None:
    group = symmetry_rotations(symmetry)
    assert len(group) == order
    assert group[0].magnitude() == 0
    distances = np.array([[(a * b * c.inv()).magnitude() for c in group] for a in group for b in group])
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-6)
    if order > 1:
        pairs = np.array([[(a * b.inv()).magnitude() for b in group] for a in group])
        assert np.sort(pairs, axis=1)[:, 1].min() > 0.1


def test_symmetry_axes_lie_where_relion_has_them() -> None:
    def holds(symmetry: str, axis: tuple[float, float, float], fold: int) -> bool:
        turn = Rotation.from_rotvec(2 * np.pi / fold * np.array(axis) / np.linalg.norm(axis))
        return min((turn * g.inv()).magnitude() for g in symmetry_rotations(symmetry)) < 1e-6

    assert holds("C4", (0, 0, 1), 4)
    assert holds("D3", (1, 0, 0), 2)
    assert holds("T", (0, 0, 1), 3)
    assert holds("O", (0, 0, 1), 4)
    assert holds("O", (1, 1, 1), 3)


@pytest.mark.parametrize("symmetry", ["", "C0", "X2", "I9", "D", "OO"])
def test_unknown_symmetry_is_named(symmetry: str) -> None:
    with pytest.raises(ConfigError, match=r"symmetry .* is unknown; use C1, C2, ..., D1, D2, ..., T or O"):
        symmetry_rotations(symmetry)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["C1", "C5", "D2", "O"]))
def test_distance_is_zero_between_equivalent_orientations_only(seed: int, symmetry: str) -> None:
    rng = np.random.default_rng(seed)
    rotation = random_rotations(1, rng)
    group = symmetry_rotations(symmetry)
    equivalent = rotation * group[int(rng.integers(len(group)))]
    assert angular_distance(rotation, equivalent, symmetry)[0] < 1e-5
    tilted = Rotation.from_rotvec([0, 0, np.radians(10)]) * rotation
    np.testing.assert_allclose(angular_distance(rotation, tilted, "C1"), 10, atol=1e-6)
