"""Pose normalisation: one pose for all orientations, never a mirror image, and boxes without density."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asymmetric import asymmetric_map, correlation
from scipy.spatial.transform import Rotation

from cryopipe.boxes import ArrayBoxes
from cryopipe.errors import LearningError
from cryopipe.features.pose_normalisation import NormalisedBoxes, normalise_poses, principal_poses
from cryopipe.features.training.box_source import BoxSource

CPU = torch.device("cpu")
SIZE = 32
ROTATIONS = Rotation.random(12, rng=np.random.default_rng(5))


def particle(rotation: Rotation | None = None, shift: tuple[float, float, float] = (0, 0, 0)) -> torch.Tensor:
    volume = asymmetric_map(SIZE, rotation, shift, width=2.0)
    return (volume - volume.mean()).float()


def test_all_orientations_get_the_same_pose() -> None:
    boxes = torch.stack([particle(rotation) for rotation in ROTATIONS])
    normal = normalise_poses(torch.cat([particle()[None], boxes]))
    found = [correlation(normal[0], one) for one in normal[1:]]
    assert min(found) > 0.98
    # Before, the orientations differ.
    assert max(correlation(particle(), one) for one in boxes) < 0.9


@pytest.mark.parametrize("shift", [(3.0, 0, 0), (0, -2.5, 1.0)])
def test_the_position_in_the_box_does_not_matter(shift: tuple[float, float, float]) -> None:
    pair = torch.stack([particle(), particle(ROTATIONS[0], shift)])
    assert correlation(*normalise_poses(pair)) > 0.98
    _, centres = principal_poses(torch.stack([particle(), particle(None, shift)]))
    np.testing.assert_allclose((centres[1] - centres[0]).numpy(), shift, atol=0.1)


def test_rotations_are_proper_and_match_the_moments() -> None:
    boxes = torch.stack([particle(rotation) for rotation in ROTATIONS])
    rotations, _ = principal_poses(boxes)
    np.testing.assert_allclose(torch.linalg.det(rotations).numpy(), 1, atol=1e-4)
    # R of the rotated particle, after the particle's rotation, is the same for all.
    together = rotations.double().numpy() @ ROTATIONS.as_matrix()
    angles = (Rotation.from_matrix(together) * Rotation.from_matrix(together[0]).inv()).magnitude()
    assert np.degrees(angles).max() < 4
    variances = [
        np.square(np.indices((SIZE,) * 3) - SIZE // 2).reshape(3, -1) @ box.clamp(min=0).flatten().numpy()
        for box in normalise_poses(boxes)
    ]
    for z, y, x in variances:
        assert z > y > x


def test_a_mirror_image_stays_one() -> None:
    own, mirrored = normalise_poses(torch.stack([particle(), particle().flip(2)]))
    assert correlation(own, mirrored) < 0.9


def test_a_box_without_density_keeps_its_pose_and_nan_is_named() -> None:
    empty = -torch.ones(1, SIZE, SIZE, SIZE)
    rotations, centres = principal_poses(empty)
    assert torch.equal(rotations[0], torch.eye(3))
    assert not centres.any()
    boxes = np.stack([particle().numpy()] * 3)
    boxes[1, 3, 3, 3] = np.nan
    with pytest.raises(LearningError, match="the box of particle number 2 contains values"):
        BoxSource(NormalisedBoxes(boxes, CPU), CPU, 1.0)


def test_normalised_boxes_are_computed_on_access_and_know_their_origin() -> None:
    boxes = torch.stack([particle(rotation) for rotation in ROTATIONS]).numpy()
    view = NormalisedBoxes(ArrayBoxes(boxes, (-60, 60), 12.0), CPU)
    assert view.shape == boxes.shape
    assert view.voxel_size == 12.0
    assert view.tilt_ranges.shape == (12, 2)
    expected = normalise_poses(torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(view[np.array([7, 2])], expected[[7, 2]], atol=1e-5)
    np.testing.assert_allclose(view[:], expected, atol=1e-5)
