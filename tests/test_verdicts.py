"""Size and shape of averages, and what clusters are said to be."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from aligned_sets import chain_map
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.averaging.cluster_facts import (
    ClusterFacts,
    cluster_facts,
    half_agreement,
    near_faces,
    orientation_excess,
)
from cryopipe.averaging.particle_shape import particle_shape
from cryopipe.averaging.verdicts import VERDICTS, Support, describe_clusters, judge, recognised_clusters
from cryopipe.files.cluster_averages import RESOLUTION, ClusterAverage
from cryopipe.particles import pose_columns

N, VOXEL = 32, 10.0
GRID = np.indices((N, N, N)) - N // 2
RADIUS = np.sqrt((GRID**2).sum(axis=0))


def noisy(volume: np.ndarray, seed: int = 0) -> np.ndarray:
    return (volume + np.random.default_rng(seed).normal(0, 0.05, volume.shape)).astype(np.float32)


def shell(centre_x: float = 0.0) -> np.ndarray:
    """A hollow sphere of radius 6 voxels."""
    radius = np.sqrt(GRID[0] ** 2 + GRID[1] ** 2 + (GRID[2] - centre_x) ** 2)
    return np.exp(-((radius - 5.5) ** 2) / 1.5)


def test_a_dip_inside_a_particle_is_not_its_rim() -> None:
    """A ribosome's radial mean falls below half its maximum near the centre and rises again."""
    core, body = np.exp(-(RADIUS**2) / 4), np.exp(-((RADIUS - 9) ** 2) / 8)
    assert particle_shape(noisy(core + 0.8 * body), VOXEL).diameter == pytest.approx(230, abs=25)


def test_a_touching_neighbour_is_not_part_of_the_particle() -> None:
    alone = particle_shape(noisy(shell()), VOXEL)
    beside = particle_shape(noisy(np.maximum(shell(), 0.8 * shell(15.0))), VOXEL)
    assert alone.diameter == pytest.approx(140, abs=15)
    assert beside.diameter == pytest.approx(alone.diameter, abs=15)
    assert beside.elongation < 1.1
    assert beside.at_rim == 0


def test_slabs_and_rods_continue_beyond_the_box() -> None:
    slab = particle_shape(noisy(np.exp(-((GRID[2] / 1.5) ** 2) / 2)), VOXEL)
    rod = particle_shape(noisy(np.exp(-(GRID[0] ** 2 + GRID[1] ** 2) / 12)), VOXEL)
    assert slab.at_rim > 0.1
    assert slab.flatness > 3
    assert slab.elongation < 1.2
    assert rod.at_rim > 0.02
    assert rod.elongation > 3


def test_an_average_of_nothing_has_no_size() -> None:
    assert math.isnan(particle_shape(np.zeros((N, N, N), np.float32), VOXEL).diameter)


def average(volume: np.ndarray, other: np.ndarray | None = None) -> ClusterAverage:
    halves = (noisy(volume, 1), noisy(volume if other is None else other, 2))
    return ClusterAverage((halves[0] + halves[1]) / 2, VOXEL, {RESOLUTION: 30.0}, half_maps=halves)


def test_half_maps_that_share_a_ball_agree_only_with_their_radial_means() -> None:
    ball = np.exp(-(RADIUS**2) / 18)
    whole, structure = half_agreement(average(ball), 120.0, 60.0)
    assert whole > 0.9
    assert abs(structure) < 0.25
    whole, structure = half_agreement(average(chain_map(N)), 160.0, 60.0)
    assert whole > 0.9
    assert structure > 0.9


def test_unevenness_of_orientations_is_tested_against_uniform_ones() -> None:
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(200):
        table = pd.DataFrame(pose_columns(Rotation.random(60, random_state=rng), None))
        p_values.append(orientation_excess(table)[1])
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)
    alike = Rotation.from_rotvec(rng.normal(0, 0.2, (60, 3)))
    excess, p_value = orientation_excess(pd.DataFrame(pose_columns(alike, None)))
    assert excess > 0.8
    assert p_value < 1e-9


def test_particles_at_the_top_and_bottom_of_their_own_tomogram_are_found() -> None:
    heights = [10.0, 12.0, 50.0, 90.0, 100.0, 110.0, 150.0, 190.0]
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: ["a"] * 4 + ["b"] * 4,
            **dict.fromkeys(columns.COORDINATES[:2], 0.0),
            columns.COORDINATES[2]: heights,
            **dict.fromkeys((*columns.ORIGINS, *columns.ANGLES), 0.0),
            columns.VOXEL_SIZE: 10.0,
            columns.DIAMETER: 240.0,
        }
    )
    assert near_faces(table).tolist() == [True, True, False, True, True, True, False, True]


GOOD = ClusterFacts(
    **{"particles": 200, "kept": 195, "tomograms": 4, "in_one": 0.3, "resolution": 28.0},
    **{"half_correlation": 0.8, "structure_correlation": 0.6, "diameter": 280.0, "elongation": 1.2},
    **{"flatness": 1.1, "at_rim": 0.0, "hollow": 0.9, "picking_diameter": 240.0, "near_faces": 0.05},
    **{"expected_near_faces": 0.05, "orientation": 0.01, "orientation_p": 0.3, "pick_score": 1.0},
    posterior=0.95,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({}, "particle", "28 nm wide; the half-maps agree to 28 Å (correlation 0.80)"),
        ({"kept": 9}, "too few", "9 particles in the average, fewer than 10"),
        ({"pick_score": 6.0}, "gold", "round, with 6.0 times the contrast of a typical particle"),
        ({"near_faces": 0.7}, "face", "70% of its particles, and 5% of all, are at the top or bottom of the tomogram"),
        ({"resolution": math.inf}, "noise", "the half-maps agree to no resolution that can be reported"),
        ({"half_correlation": 0.2}, "noise", "the half-maps do not agree (correlation 0.20)"),
        ({"resolution": 72.0}, "noise", "resolution 72 Å, which picked noise also reaches (up to 69 Å)"),
        ({"structure_correlation": 0.1}, "noise", "the half-maps agree only in a ball, as those of picked noise do "
         "(correlation 0.10 without the radial mean)"),
        ({"at_rim": 0.2, "flatness": 4.0}, "membrane or filament", "flat, and continues beyond the box (20% of the "
         "box's rim)"),
        ({"at_rim": 0.04, "elongation": 4.0}, "membrane or filament", "elongated, and continues beyond the box (4% of "
         "the box's rim)"),
        ({"at_rim": 0.034, "elongation": 1.04, "flatness": 1.02}, "particle", "28 nm wide; the half-maps agree to 28 Å "
         "(correlation 0.80)"),
        ({"at_rim": 0.12, "elongation": 1.04, "flatness": 1.02}, "membrane or filament", "round, and continues beyond "
         "the box (12% of the box's rim)"),
        ({"kept": 100}, "mixture suspected", "50% of its particles do not match the average; 28 nm wide; the half-maps "
         "agree to 28 Å (correlation 0.80)"),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_the_facts_with_its_reason(
    change: dict[str, float], word: str, reason: str
) -> None:
    verdict = judge(dataclasses.replace(GOOD, **change))
    assert (verdict.word, verdict.reason) == (word, reason)


def test_a_hollow_sphere_is_no_ball_of_noise() -> None:
    assert judge(dataclasses.replace(GOOD, structure_correlation=0.1, hollow=0.1)).word == "particle"


SUPPORTED = Support(
    **{"p": 0.001, "q": 0.002, "finest_decoy": 80.0, "false_fraction": 0.05},
    **{"heterogeneity": 1.0, "p_mixture": 0.5, "purity": 0.95, "mixture": False, "decoys": 150},
)


@pytest.mark.parametrize(
    ("facts", "word", "reason"),
    [
        ({}, "too few", "13 decoys, too few to exclude that these are picks of noise"),
        ({"resolution": 70.0}, "noise", "resolution 70 Å, which picked noise also reaches (up to 69 Å)"),
        ({"at_rim": 0.3}, "membrane or filament", None),
        ({"kept": 4}, "too few", "4 particles in the average, fewer than 10"),
    ],
)
def test_with_too_few_decoys_no_class_is_called_a_particle_and_none_has_a_resolution(
    facts: dict[str, float], word: str, reason: str | None
) -> None:
    support = Support(
        **dict.fromkeys(SUPPORTED.__dataclass_fields__, math.nan) | {"mixture": False, "decoys": 13}
    )
    one = dataclasses.replace(GOOD, **facts)
    found = judge(one, support)
    assert found.word == word
    if reason:
        assert found.reason == reason
    table = describe_clusters({1: one}, {1: support})
    assert table["resolution"].isna().all()
    assert table["q"].isna().all()


@pytest.mark.parametrize(
    ("facts", "support", "word", "reason"),
    [
        ({}, {"finest_decoy": 30.0}, "noise", "resolution 28 Å, which picked noise also reaches (up to 27 Å)"),
        ({"resolution": 70.0}, {}, "particle", "28 nm wide; the half-maps agree to 70 Å (correlation 0.80); differs "
         "from decoys (q = 0.002)"),
        ({}, {"q": 0.2}, "noise", "does not differ from decoys (q = 0.2)"),
        ({"at_rim": 0.2}, {"q": math.nan, "p": 0.3}, "noise", "does not differ from decoys (p = 0.3)"),
        ({}, {"false_fraction": 0.6}, "noise", "60% of its particles are picked noise by the density of decoys"),
        ({}, {"mixture": True, "heterogeneity": 1.8, "p_mixture": 0.025}, "mixture suspected", "two groups by its "
         "features differ 1.8 times as much as random halves (p = 0.025); 28 nm wide; the half-maps agree to 28 Å "
         "(correlation 0.80); differs from decoys (q = 0.002)"),
    ],
)  # fmt: skip
def test_decoys_decide_where_there_are_some(
    facts: dict[str, float], support: dict[str, float], word: str, reason: str
) -> None:
    verdict = judge(dataclasses.replace(GOOD, **facts), dataclasses.replace(SUPPORTED, **support))
    assert (verdict.word, verdict.reason) == (word, reason)


def test_clusters_of_gold_noise_faces_and_too_few_particles_are_not_recognised() -> None:
    table = pd.DataFrame({"cluster": range(1, len(VERDICTS) + 1), "verdict": VERDICTS})
    assert recognised_clusters(table) == [1, 2, 3]
    assert VERDICTS[:3] == ("particle", "mixture suspected", "membrane or filament")


def test_the_table_begins_with_particles_and_never_with_noise() -> None:
    facts = {
        1: dataclasses.replace(GOOD, resolution=math.inf, particles=900),
        2: dataclasses.replace(GOOD, particles=100, kept=100),
        3: GOOD,
        4: dataclasses.replace(GOOD, kept=150),
    }
    table = describe_clusters(facts)
    assert table["cluster"].tolist() == [3, 2, 4, 1]
    assert table["verdict"].tolist() == ["particle", "particle", "mixture suspected", "noise"]
    assert set(table["verdict"]) <= set(VERDICTS)
    assert describe_clusters({}).empty


def test_facts_are_measured_for_every_cluster() -> None:
    rng = np.random.default_rng(0)
    poses = pose_columns(Rotation.random(30, random_state=rng), np.zeros((30, 3)))
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: ["a"] * 20 + ["b"] * 10,
            columns.PARTICLE: [f"a/{i}" for i in range(30)],
            **dict(zip(columns.COORDINATES, rng.uniform(20, 200, (3, 30)), strict=True)),
            **poses,
            columns.VOXEL_SIZE: VOXEL,
            columns.DIAMETER: 150.0,
            columns.PICK_SCORE: np.r_[np.full(15, 4.0), np.full(15, 6.0)],
            columns.POSTERIOR: 0.9,
            columns.ALIGNMENT_KEPT: [1] * 28 + [0] * 2,
        }
    )
    first = dataclasses.replace(average(chain_map(N)), particles=table)
    second = dataclasses.replace(average(shell()), particles=table.iloc[15:])
    facts = cluster_facts({1: first, 2: second}, 60.0)
    assert (facts[1].particles, facts[1].kept, facts[1].tomograms) == (30, 28, 2)
    assert facts[1].in_one == pytest.approx(2 / 3)
    assert facts[1].resolution == 30.0
    assert facts[2].pick_score == pytest.approx(1.0)
    assert facts[1].pick_score == pytest.approx(5 / 6)
    assert facts[2].hollow < 0.2
    assert facts[2].diameter == pytest.approx(140, abs=15)
    assert facts[1].picking_diameter == 150.0
