from __future__ import annotations

import numpy as np
import pytest
from aligned_sets import box_set

from cryopipe.averaging import AveragingOptions, align_cluster
from cryopipe.averaging.half_sets import assign_half_sets, neighbourhoods

OPTIONS = AveragingOptions(
    initial_models=1, initial_iterations=6, initial_resolution=50, max_shift=25, refinement_iterations=3
)


def clumps(seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sixty particles, 400 A from each other, with one to five picks each, in two tomograms with equal coordinates."""
    rng = np.random.default_rng(seed)
    centres = 400.0 * np.stack(np.meshgrid(*[np.arange(3)] * 2, np.arange(4)), axis=-1).reshape(-1, 3)[:30]
    owner = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    picks = np.concatenate([centres, centres])[owner] + rng.uniform(-60, 60, (len(owner), 3))
    order = rng.permutation(len(owner))
    return picks[order], owner[order], ["a" if number < 30 else "b" for number in owner[order]]


@pytest.mark.parametrize("seed", range(5))
def test_picks_of_one_particle_are_in_one_half_set(seed: int) -> None:
    picks, owner, tomograms = clumps(seed)
    groups = neighbourhoods(picks, tomograms, 210.0)
    pairs = {(int(group), int(particle)) for group, particle in zip(groups, owner, strict=True)}
    assert len(pairs) == 60  # a neighbourhood is a particle, in its own tomogram
    halves = assign_half_sets(groups, np.random.default_rng(seed))
    assert all(len(set(halves[owner == particle])) == 1 for particle in range(60))
    assert abs(int((halves == 1).sum()) - int((halves == 2).sum())) <= 1
    again = assign_half_sets(groups, np.random.default_rng(seed + 1))
    assert (again != halves).any()


def test_a_crowded_tomogram_is_divided_between_its_most_distant_neighbours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A chain of 20 particles 150 A apart, each with two picks 30 A apart: all are connected at 200 A.
    line = np.zeros((40, 3))
    line[:, 0] = np.repeat(150.0 * np.arange(20), 2) + np.tile([0.0, 30.0], 20)
    groups = neighbourhoods(line, ["a"] * 40, 200.0)
    assert (groups[::2] == groups[1::2]).all()
    assert np.bincount(groups).max() <= 20
    halves = assign_half_sets(groups, np.random.default_rng(1))
    assert sorted(np.bincount(halves)[1:]) == [20, 20]
    assert (
        "of 40 particles have a neighbour nearer than 200 A that may be in the other half-set" in caplog.text
    )


def test_few_particles_still_have_two_half_sets() -> None:
    groups = neighbourhoods(np.zeros((2, 3)), ["a", "a"], 100.0)
    assert sorted(assign_half_sets(groups, np.random.default_rng(1))) == [1, 2]
    assert len(neighbourhoods(np.zeros((0, 3)), [], 100.0)) == 0


def test_particles_picked_twice_do_not_make_the_resolution_finer() -> None:
    truth = box_set(30, noise=0.6, seed=4)
    # Two picks of every particle, one voxel apart.
    boxes = np.concatenate([truth.boxes, np.roll(truth.boxes, 1, axis=3)])
    tilts, particles = np.tile([-60.0, 60.0], (60, 1)), np.tile(np.arange(30), 2)
    common = align_cluster(boxes, tilts, 10.0, OPTIONS, 1)
    assert common.resolution_0143 == 20.0  # both half-maps contain the same noise, up to the Nyquist limit
    apart = align_cluster(boxes, tilts, 10.0, OPTIONS, 1, groups=particles)
    assert (apart.half_sets[:30] == apart.half_sets[30:]).all()
    assert apart.resolution_0143 > 33  # every particle once: 40 A
