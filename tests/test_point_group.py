from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryopipe.averaging.point_group import propose_point_group
from cryopipe.volume.geometry import symmetry_rotations
from cryopipe.volume.masks import radius_grid

BOX = 24
Z, Y, X = np.meshgrid(*[np.arange(BOX) - BOX // 2] * 3, indexing="ij")


def planted(group: str, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Half-maps of four balls per asymmetric unit, in any orientation; the map's standard deviation is 1."""
    elements = Rotation.create_group(group) if group in "TOI" else symmetry_rotations(group)
    rng = np.random.default_rng(seed)
    tilt = Rotation.random(random_state=seed)
    points = Rotation.random(4, random_state=seed + 5).apply([1, 0, 0]) * rng.uniform(4, 8, (4, 1))
    volume = np.zeros((BOX,) * 3)
    for element in elements:
        for x, y, z in (tilt * element).apply(points):
            volume += np.exp(-((X - x) ** 2 + (Y - y) ** 2 + (Z - z) ** 2) / (2 * 1.2**2))
    return halves(volume / volume.std(), noise, seed)


def halves(volume: np.ndarray, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    first, second = (torch.from_numpy(volume + rng.normal(0, noise, volume.shape)) for _ in range(2))
    return first, second


@pytest.mark.parametrize("group", ["C2", "C3", "D2", "C6", "O"])
def test_the_point_group_of_a_planted_map_is_proposed(group: str) -> None:
    found = propose_point_group(planted(group, 0.7), 10, 2.6, 1)
    assert found.name == group
    assert found.score > 0.85
    assert found.null < 0.4


@pytest.mark.parametrize("seed", [1, 2])
def test_no_group_is_proposed_for_a_map_without_symmetry(seed: int) -> None:
    assert propose_point_group(planted("C1", 0.7, seed), 10, 2.6, 1).name == "C1"


def test_maps_that_cannot_decide_have_no_proposal() -> None:
    nothing = np.zeros((BOX,) * 3)
    rod = 5.0 / (1 + np.exp(3 * (np.hypot(X, Y) - 3))) / (1 + np.exp(3 * (np.abs(Z) - 8)))
    ball = 5.0 / (1 + np.exp(2 * (radius_grid(BOX).numpy() - 7)))
    for volume in (nothing, rod, ball):
        assert propose_point_group(halves(volume, 1.0), 10, 3.0, 1).name == ""
    assert propose_point_group(planted("C3", 0.1), 10, math.inf, 1).name == ""
