"""Thresholds from the expected number of false picks: what was asked for is found in tomograms without particles."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cryopipe.picking import PickOptions, pick_particles
from tests.test_pick_sizes import plant

SHAPE = (60, 150, 150)


def noise(coloured: bool, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(SHAPE, np.float32)
    return white + 6 * gaussian_filter(rng.standard_normal(SHAPE, np.float32), 1.2) if coloured else white


@pytest.mark.parametrize(("diameters", "asked"), [([110.0], 40), ([140.0, 200.0], 15)])
@pytest.mark.slow
@pytest.mark.parametrize("coloured", [False, True])
def test_noise_gives_as_many_picks_as_asked_for(coloured: bool, diameters: list[float], asked: float) -> None:
    counts = [
        len(
            pick_particles(
                noise(coloured, seed), 10.0, PickOptions(diameters=diameters, false_picks=asked), "dark"
            )
        )
        for seed in (1, 2, 3)
    ]
    # the numbers in the tomogram and in the null vary as those of independent events
    assert abs(np.mean(counts) - asked) < 3 * np.sqrt(asked * (1 / 3 + 1 / 3))


def test_strong_particles_are_picked_among_few_false_ones() -> None:
    centres = [(300.0, 250.0 + 500 * row, 250.0 + 500 * column) for row in range(3) for column in range(3)]
    volume = -plant(SHAPE, [(centre, 160.0, 1.0) for centre in centres], 1.0, 1)
    picks = pick_particles(volume, 10.0, PickOptions(diameters=[160.0], false_picks=5), "dark")
    apart = np.linalg.norm(picks.coordinates[:, None] * 10 - np.array(centres)[None, :, ::-1], axis=2)
    assert (apart.min(axis=0) < 30).all()
    assert len(centres) < len(picks) <= len(centres) + 12
    # neither their fringes nor their power raise the threshold for the rest
    assert picks.scores.min() < 4.5
