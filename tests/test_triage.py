from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from aligned_sets import chain_map
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.averaging import AveragingOptions
from cryopipe.averaging.mergers import merged_particles
from cryopipe.averaging.triage import find_mergers, shape, triage
from cryopipe.files.cluster_averages import RESOLUTION, ClusterAverage
from cryopipe.volume.geometry import relion_angles, rotation_from_relion_angles
from cryopipe.volume.masks import radius_grid

VOXEL = 10.0
OPTIONS = AveragingOptions(max_shift=40.0)
TURN = Rotation.from_euler("ZYZ", [50, 80, -30], degrees=True)
SHIFT = np.array([1.5, -0.5, 1.0])


def cluster(
    volume: np.ndarray, count: int, number: int, resolution: float = 35.0, seed: int = 0
) -> ClusterAverage:
    rng = np.random.default_rng(seed)
    halves = [(volume + rng.normal(0, 0.05, volume.shape)).astype(np.float32) for _ in range(2)]
    angles = relion_angles(Rotation.random(count, random_state=rng))
    particles = pd.DataFrame(
        {
            columns.PARTICLE: [f"t{number}/{i}" for i in range(count)],
            columns.CLASS: number,
            **dict(zip(columns.ANGLES, angles.T, strict=True)),
            **dict(zip(columns.ORIGINS, rng.normal(0, 5, (3, count)), strict=True)),
            columns.ALIGNMENT_KEPT: [1] * (count - 1) + [0],
        }
    )
    return ClusterAverage(
        (halves[0] + halves[1]) / 2,
        VOXEL,
        {RESOLUTION: resolution} if math.isfinite(resolution) else {},
        particles=particles,
        half_maps=(halves[0], halves[1]),
    )


def other_map(n: int) -> np.ndarray:
    radius = radius_grid(n).numpy()
    return np.exp(-((radius - 5) ** 2) / 4)


@pytest.fixture
def clusters() -> dict[int, ClusterAverage]:
    return {
        1: cluster(chain_map(24), 30, 1),
        2: cluster(other_map(24), 25, 2, resolution=math.inf, seed=1),
        3: cluster(chain_map(24, TURN, SHIFT), 20, 3, seed=2),
    }


def test_clusters_whose_averages_match_are_offered_with_the_frame_between_them(
    clusters: dict[int, ClusterAverage],
) -> None:
    mergers = find_mergers(clusters, OPTIONS)
    assert len(mergers) == 3
    offered = mergers[mergers["offered"] == 1]
    assert offered[["cluster", "into"]].to_numpy().tolist() == [[3, 1]]
    assert float(offered["correlation"].iloc[0]) > 0.95
    frame = rotation_from_relion_angles(offered[["rot", "tilt", "psi"]].to_numpy())
    # The frame carries the average of cluster 3 back onto that of cluster 1.
    assert np.degrees((frame * TURN).magnitude())[0] < 2
    np.testing.assert_allclose(offered[["x", "y", "z"]].to_numpy()[0], -TURN.inv().apply(SHIFT), atol=0.1)


def test_merged_particles_keep_their_place_against_the_common_average(
    clusters: dict[int, ClusterAverage],
) -> None:
    mergers = find_mergers(clusters, OPTIONS)
    merged = merged_particles(clusters, mergers, apply=True)
    assert merged[columns.CLASS].value_counts().to_dict() == {1: 50, 2: 25}
    before = clusters[3].particles
    after = merged[merged[columns.PARTICLE].str.startswith("t3/")]
    rotations = rotation_from_relion_angles(before[list(columns.ANGLES)].to_numpy())
    rotated = rotation_from_relion_angles(after[list(columns.ANGLES)].to_numpy())
    # A point p of map 1 is the point TURN p + SHIFT of map 3; both must be one point of the particle.
    point = np.array([4.0, -2.0, 3.0])
    of_map3 = rotations.apply(TURN.apply(point) + SHIFT) - before[list(columns.ORIGINS)].to_numpy() / VOXEL
    of_map1 = rotated.apply(point) - after[list(columns.ORIGINS)].to_numpy() / VOXEL
    np.testing.assert_allclose(of_map1, of_map3, atol=0.25)


def test_nothing_is_merged_unless_asked(clusters: dict[int, ClusterAverage]) -> None:
    same = merged_particles(clusters, find_mergers(clusters, OPTIONS), apply=False)
    pd.testing.assert_frame_equal(
        same, pd.concat([clusters[i].particles for i in (1, 2, 3)], ignore_index=True)
    )


def test_no_cluster_gives_empty_tables() -> None:
    mergers = find_mergers({}, OPTIONS)
    assert list(mergers.columns[:4]) == ["cluster", "into", "correlation", "offered"]
    assert merged_particles({}, mergers, apply=True).empty
    assert triage({}, {}, OPTIONS).empty


def test_triage_tells_hand_and_known_maps(clusters: dict[int, ClusterAverage]) -> None:
    known = {
        "chain": (chain_map(24, TURN).astype(np.float32), VOXEL),
        "shell": (other_map(24).astype(np.float32), VOXEL),
    }
    table = triage(clusters, known, OPTIONS).set_index("cluster")
    assert math.isnan(table.loc[2, "resolution"])
    assert table["kept"].to_dict() == {1: 29, 2: 24, 3: 19}
    assert table["best_match"].to_dict() == {1: "chain", 2: "shell", 3: "chain"}
    assert (table["match_correlation"] > 0.95).all()
    assert table["symmetry"].to_dict() == {1: "C1", 2: "", 3: "C1"}
    # The chain shows its hand, the shell has none.
    assert table.loc[1, "half_correlation"] - table.loc[1, "mirror_correlation"] > 0.1
    assert abs(table.loc[2, "half_correlation"] - table.loc[2, "mirror_correlation"]) < 0.05


def test_shape_of_a_hollow_shell_and_of_a_ball() -> None:
    n = 32
    radius = radius_grid(n)
    shell = shape(torch.exp(-((radius - 6) ** 2) / 2).numpy(), VOXEL)
    assert shell["shell_radius"] == 60
    assert shell["diameter"] == pytest.approx(160, abs=20)
    assert shell["centre_density"] < 0.05
    ball = shape((radius < 5).float().numpy() + 3, VOXEL)
    assert ball["diameter"] == pytest.approx(100, abs=20)
    assert ball["centre_density"] == pytest.approx(1, abs=0.1)
