from __future__ import annotations

import numpy as np
import pytest
import torch
from asymmetric import asymmetric_map, correlation
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from cryopipe.volume.geometry import random_rotations, relion_angles, rotation_from_relion_angles
from cryopipe.volume.rotate import SplineVolume, rotate_volumes

BOX = 24
ROTATION = Rotation.from_euler("ZYZ", [35, 62, -110], degrees=True)
SHIFT = (1.3, -0.7, 2.1)
PERMUTATION = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])


def turned(
    volume: torch.Tensor, rotation: Rotation, shift: tuple[float, float, float], how: str
) -> torch.Tensor:
    matrices = torch.from_numpy(rotation.as_matrix())[None]
    return rotate_volumes(volume[None], matrices, torch.tensor([shift]), how)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("how", "error"), [("linear", 0.12), ("cubic", 0.006)])
@pytest.mark.parametrize("box_size", [23, 24])
def test_turning_gives_the_exact_density(how: str, error: float, box_size: int) -> None:
    result = turned(asymmetric_map(box_size), ROTATION, SHIFT, how)
    exact = asymmetric_map(box_size, ROTATION, SHIFT)
    assert float((result - exact).norm() / exact.norm()) < error


@pytest.mark.parametrize("how", ["linear", "cubic"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: turned(v, ROTATION.inv(), SHIFT, "cubic"),
        lambda v: turned(v, ROTATION, (-1.3, 0.7, -2.1), "cubic"),
        lambda v: turned(v, ROTATION, SHIFT[::-1], "cubic"),
        lambda v: turned(v.flip(0), ROTATION, SHIFT, "cubic"),
        lambda v: turned(v.permute(2, 1, 0), ROTATION, SHIFT, "cubic"),
    ],
    ids=["inverse", "shift sign", "shift order", "mirror", "axes"],
)
def test_the_map_tells_wrong_conventions_apart(how: str, wrong) -> None:
    exact = asymmetric_map(BOX, ROTATION, SHIFT)
    right = correlation(turned(asymmetric_map(BOX), ROTATION, SHIFT, how), exact)
    assert right > 0.99
    assert correlation(wrong(asymmetric_map(BOX)), exact) < 0.95


@pytest.mark.parametrize("box_size", [23, 24])
def test_a_volume_rotated_many_times_equals_the_cubic_rotation(box_size: int) -> None:
    volume = asymmetric_map(box_size).float()
    ours = SplineVolume(volume.numpy()).rotated(ROTATION, np.array(SHIFT))
    inner = (slice(4, -4),) * 3  # at the borders, the one is periodic and the other 0
    expected = turned(volume, ROTATION, SHIFT, "cubic").numpy()
    np.testing.assert_allclose(ours[inner], expected[inner], atol=1e-4)


def test_agrees_with_scipy_in_the_documented_convention() -> None:
    volume = asymmetric_map(BOX)
    matrix = PERMUTATION @ ROTATION.as_matrix().T @ PERMUTATION
    centre = np.full(3, BOX // 2)
    offset = centre - matrix @ (centre + np.array(SHIFT[::-1]))
    inner = (slice(6, -6),) * 3  # the two differ at the borders
    for how, order, tolerance in (("linear", 1, 1e-6), ("cubic", 3, 1e-4)):
        theirs = affine_transform(volume.numpy(), matrix, offset=offset, order=order)
        ours = turned(volume, ROTATION, SHIFT, how).numpy()
        np.testing.assert_allclose(ours[inner], theirs[inner], atol=tolerance)


@pytest.mark.parametrize("how", ["linear", "cubic"])
@pytest.mark.parametrize("box_size", [15, 16])
def test_no_rotation_changes_nothing(how: str, box_size: int) -> None:
    volume = torch.randn(
        2, box_size, box_size, box_size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    same = rotate_volumes(volume, torch.eye(3).expand(2, 3, 3), None, how)  # type: ignore[arg-type]
    torch.testing.assert_close(same, volume, atol=1e-9, rtol=0)


def test_there_and_back_through_relion_angles() -> None:
    rotation = random_rotations(1, np.random.default_rng(5))
    volume = asymmetric_map(BOX)
    there = rotate_volumes(volume[None], torch.from_numpy(rotation.as_matrix()), None, "cubic")
    again = rotation_from_relion_angles(relion_angles(rotation)).inv()
    back = rotate_volumes(there, torch.from_numpy(again.as_matrix()), None, "cubic")[0]
    assert correlation(back, volume) > 0.9999


@pytest.mark.parametrize("how", ["linear", "cubic"])
def test_one_reference_makes_many_particles(how: str) -> None:
    rotations = random_rotations(3, np.random.default_rng(5))
    matrices = torch.from_numpy(rotations.as_matrix())
    many = rotate_volumes(asymmetric_map(BOX)[None], matrices, None, how)  # type: ignore[arg-type]
    for particle, rotation in zip(many, rotations, strict=True):
        assert correlation(particle, asymmetric_map(BOX, rotation)) > 0.99


@pytest.mark.parametrize("how", ["linear", "cubic"])
def test_what_comes_in_from_outside_is_the_fill_value(how: str) -> None:
    volume = torch.full((1, 8, 8, 8), 2.0)
    shifted = rotate_volumes(volume, torch.eye(3)[None], torch.tensor([[3.0, 0, 0]]), how, fill=5.0)[0]  # type: ignore[arg-type]
    assert torch.all(shifted[:, :, :2] == 5.0)
    torch.testing.assert_close(shifted[2:6, 2:6, 4:], torch.full((4, 4, 4), 2.0), atol=1e-4, rtol=0)
