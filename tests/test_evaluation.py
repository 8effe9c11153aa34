"""Scores against truth: closed forms, planted errors, and what must not change a score."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.alignment.map_fitting import fit_map
from cryopipe.errors import DataError
from cryopipe.evaluation.average_scores import with_map_scores
from cryopipe.evaluation.cluster_scores import BACKGROUND, pair_clusters, score_clusters
from cryopipe.evaluation.options import EvaluationOptions
from cryopipe.evaluation.pick_scores import cluster_detection, recall_table, score_picking
from cryopipe.evaluation.point_matching import match_points
from cryopipe.evaluation.pose_scores import score_poses
from cryopipe.evaluation.run_scores import score_run
from cryopipe.evaluation.score_tables import averages_table, clusters_table, contents_table, picking_table
from cryopipe.evaluation.truth import (
    NO_MATCH,
    SYMMETRY,
    TRUE_CLASS,
    TRUE_INDEX,
    match_particles,
    of_tomogram,
    symmetry_of,
    true_classes,
    voxel_sizes_of,
)
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles
from cryopipe.simulation.tomogram import SPECIES
from cryopipe.volume.geometry import random_rotations, relion_angles, symmetry_rotations


def cloud(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 60, (count, 3))


@given(st.integers(0, 10_000), st.integers(0, 25), st.integers(0, 25), st.floats(1, 60))
def test_matching_is_the_optimum(seed: int, found_count: int, truth_count: int, radius: float) -> None:
    found, truth = cloud(seed, found_count), cloud(seed + 1, truth_count)
    matches = match_points(found, truth, radius)
    assert len(set(matches.found)) == len(matches.found)
    assert len(set(matches.truth)) == len(matches.truth)
    assert (matches.distances <= radius).all()
    # A dense assignment, where a pair beyond the radius costs more than all pairs within it.
    distances = np.linalg.norm(found[:, None] - truth[None], axis=-1)
    cost = np.where(distances <= radius, distances, 1e6)
    rows, places = linear_sum_assignment(cost)
    best = cost[rows, places]
    assert len(matches.found) == (best < 1e6).sum()
    assert matches.distances.sum() == pytest.approx(best[best < 1e6].sum(), abs=1e-6)


def test_greedy_matching_would_lose_a_pair() -> None:
    found = np.array([[0.0, 0, 0], [3, 0, 0]])
    truth = np.array([[2.0, 0, 0], [-4, 0, 0]])
    matches = match_points(found, truth, 4.5)
    assert dict(zip(matches.found.tolist(), matches.truth.tolist(), strict=True)) == {0: 1, 1: 0}


def test_planted_misses_and_false_picks_are_counted() -> None:
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[np.arange(5) * 100.0] * 3), axis=-1).reshape(-1, 3)
    picks = np.concatenate([lattice[:100] + rng.uniform(-20, 20, (100, 3)), lattice[:20] + 5000])
    score = score_picking([match_points(picks, lattice, 40)])
    assert (score.found, score.truth, score.matched) == (120, 125, 100)
    assert score.recall == 0.8
    assert score.precision == pytest.approx(100 / 120)
    assert score.f1 == pytest.approx(2 * 0.8 * (100 / 120) / (0.8 + 100 / 120))


def test_scores_without_particles_are_not_numbers_but_no_crash() -> None:
    score = score_picking([match_points(np.zeros((0, 3)), np.zeros((0, 3)), 10)])
    assert np.isnan([score.recall, score.precision, score.f1]).all()
    assert np.isnan(score_clusters(np.array([]), np.array([])).v_measure)


labels = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), min_size=1, max_size=80)


@settings(max_examples=50)
@given(labels, st.permutations(range(1, 7)))
def test_names_of_clusters_do_not_matter(pairs: list[tuple[str, int]], order: list[int]) -> None:
    classes, clusters = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]) + 1
    renamed = np.array(order)[clusters - 1]
    scores, others = asdict(score_clusters(classes, clusters)), asdict(score_clusters(classes, renamed))
    assert scores == pytest.approx(others, abs=1e-9)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=50))
def test_perfect_clusters_score_one(names: list[str]) -> None:
    classes = np.array(names)
    scores = score_clusters(classes, np.unique(classes, return_inverse=True)[1] + 1)
    assert scores.accuracy == scores.homogeneity == scores.completeness == scores.rand_index == 1
    assert scores.classes == scores.clusters == len(set(names))


def test_cluster_scores_in_closed_form() -> None:
    # Two classes of four; one member of "b" strays into the cluster of "a".
    classes = np.array(list("aaaabbbb"))
    scores = score_clusters(classes, np.array([1, 1, 1, 1, 1, 2, 2, 2]))
    entropy_in_first = -(4 / 5 * np.log2(4 / 5) + 1 / 5 * np.log2(1 / 5))
    entropy_of_clusters = -(5 / 8 * np.log2(5 / 8) + 3 / 8 * np.log2(3 / 8))
    homogeneity = 1 - 5 / 8 * entropy_in_first
    completeness = homogeneity / entropy_of_clusters
    assert scores.accuracy == 7 / 8
    assert scores.homogeneity == pytest.approx(homogeneity)
    assert scores.completeness == pytest.approx(completeness)
    assert scores.v_measure == pytest.approx(2 * homogeneity * completeness / (homogeneity + completeness))


def test_true_particles_without_a_cluster_are_errors_and_background_there_is_right() -> None:
    classes = np.array(["a", "a", "b", "b", BACKGROUND, BACKGROUND])
    scores = score_clusters(classes, np.array([1, 0, 2, 2, 0, 1]))
    assert scores.accuracy == 4 / 6
    assert scores.noise_fraction == 2 / 6
    assert (scores.classes, scores.clusters) == (2, 2)
    assert pair_clusters(classes, np.array([1, 0, 2, 2, 0, 1])) == {1: "a", 2: "b"}


def test_too_many_clusters_cost_accuracy() -> None:
    classes = np.array(["a"] * 6)
    assert score_clusters(classes, np.array([1, 1, 1, 2, 2, 3])).accuracy == 0.5


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 true classes for 1 clusters"):
        score_clusters(np.array(["a", "b"]), np.array([1]))


def test_each_cluster_is_a_detector_of_its_class() -> None:
    clusters = np.array([1, 1, 1, 2, 2, 0, 3])
    matched = np.array(["a", "a", "b", "b", "", "b", ""])
    table = cluster_detection(clusters, matched, {"a": 4, "b": 5}, unassigned=0).set_index("cluster")
    assert list(table.index) == [1, 2, 3]
    assert table.loc[1, ["class", "found", "truth", "matched"]].tolist() == ["a", 3, 4, 2]
    assert table.loc[1, "f1"] == pytest.approx(4 / 7)
    assert table.loc[2, "precision"] == 0.5
    assert table.loc[3, "class"] == ""
    assert np.isnan(table.loc[3, "f1"])


def test_recall_per_class() -> None:
    table = recall_table(np.array(["b", "a", "b", "b"]), np.array([True, False, True, False]))
    assert table["class"].tolist() == ["a", "b"]
    assert table["recall"].tolist() == [0, pytest.approx(2 / 3)]


def poses(seed: int, count: int) -> tuple[Rotation, np.ndarray]:
    rng = np.random.default_rng(seed)
    return random_rotations(count, rng), rng.uniform(0, 1000, (count, 3))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["C1", "C7", "D2", "T"]))
def test_a_common_rotation_shift_and_symmetry_are_no_error(seed: int, symmetry: str) -> None:
    truth, true_centres = poses(seed, 30)
    rng = np.random.default_rng(seed + 1)
    rotation, centre = random_rotations(1, rng)[0], rng.uniform(-30, 30, 3)
    group = symmetry_rotations(symmetry)
    found = truth * group[rng.integers(len(group), size=30)] * rotation.inv()
    errors = score_poses(found, truth, true_centres - found.apply(centre), true_centres, group)
    assert errors.degrees.max() < 1e-4
    assert errors.shifts.max() < 1e-6
    assert errors.centre == pytest.approx(centre, abs=1e-6)


def test_pose_errors_are_those_that_were_planted_though_half_of_the_poses_are_random() -> None:
    truth, true_centres = poses(5, 200)
    rng = np.random.default_rng(6)
    axes = rng.standard_normal((200, 3))
    tilted = Rotation.from_rotvec(4 * axes / np.linalg.norm(axes, axis=1, keepdims=True), degrees=True)
    rotation = random_rotations(1, rng)[0]
    found = tilted * truth * rotation.inv()
    lost = rng.permutation(200)[:100]
    mixed = found.as_quat()
    mixed[lost] = random_rotations(100, rng).as_quat()
    errors = score_poses(Rotation.from_quat(mixed), truth, true_centres, true_centres)
    kept = np.setdiff1d(np.arange(200), lost)
    assert np.degrees((errors.rotation * rotation.inv()).magnitude()) < 1.5
    assert errors.degrees[kept] == pytest.approx(4, abs=1.5)
    assert np.median(errors.degrees[lost]) > 60


def test_poses_without_particles_are_refused() -> None:
    with pytest.raises(ValueError, match="no poses"):
        score_poses(Rotation.identity(0), Rotation.identity(0), np.zeros((0, 3)), np.zeros((0, 3)))


def blobs(box: int, voxel_size: float, rotation: Rotation, shift: np.ndarray) -> np.ndarray:
    """An asymmetric, chiral map: balls of unequal size about unequal arms, (z, y, x)."""
    grid = (np.indices((box, box, box)).transpose(1, 2, 3, 0) - box // 2)[..., ::-1] * voxel_size
    balls = [
        ((60, 0, 0), 20, 1.0),
        ((0, -50, 20), 25, 1.2),
        ((0, 30, 70), 22, 0.8),
        ((-40, -40, -40), 30, 1.0),
    ]
    return sum(
        weight * np.exp(-np.sum((grid - rotation.apply(place) - shift) ** 2, axis=-1) / (2 * width**2))
        for place, width, weight in balls
    )


@pytest.mark.parametrize(("box", "voxel_size"), [(28, 13.0), (25, 14.0)])
def test_a_true_map_is_laid_onto_the_average(box: int, voxel_size: float) -> None:
    rotation, shift = random_rotations(1, np.random.default_rng(3))[0], np.array([14.0, -9.0, 22.0])
    average = blobs(box, voxel_size, rotation, shift)
    average += np.random.default_rng(0).normal(0, 0.02, average.shape)
    fit = fit_map(average, voxel_size, blobs(40, 9.0, Rotation.identity(), np.zeros(3)), 9.0)
    assert np.degrees((fit.rotation * rotation.inv()).magnitude()) < 2
    assert fit.shift == pytest.approx(shift, abs=2)
    assert fit.correlation > 0.97
    assert fit.mirror_correlation < fit.correlation - 0.03
    assert fit.resolution < 60


def particle_table() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Six picks in two tomograms of 10 angstrom, and their truth: five of one species, two of another."""
    positions = np.array(
        [[10, 10, 10], [30, 10, 10], [50, 10, 10], [90, 90, 90], [10, 10, 10], [30, 30, 30]], float
    )
    found = pd.DataFrame(positions, columns=list(columns.COORDINATES))
    found[columns.TOMOGRAM] = ["one"] * 4 + ["two"] * 2
    found[columns.PARTICLE] = [f"{name}/{i}" for i, name in enumerate(found[columns.TOMOGRAM])]
    found[columns.VOXEL_SIZE] = 10.0
    found[columns.CLASS] = [1, 1, 2, 0, 1, 2]
    truth = found.drop(index=3).drop(columns=[columns.CLASS, columns.PARTICLE])
    truth[list(columns.COORDINATES)] += 1.0
    truth[SPECIES] = ["ring", "ring", "rod", "ring", "rod"]
    truth.loc[len(found)] = [150.0, 150, 150, "two", 10.0, "ring"]
    return found, {name: of_tomogram(truth, name) for name in ("one", "two")}


def test_the_tables_of_an_evaluation() -> None:
    found, truth = particle_table()
    matched = match_particles(found, truth, voxel_sizes_of(found, truth), radius=30)
    assert matched.table[TRUE_CLASS].tolist() == ["ring", "ring", "rod", NO_MATCH, "ring", "rod"]
    assert matched.table[TRUE_INDEX].tolist() == [0, 1, 2, -1, 0, 1]
    picking = picking_table(matched).set_index(["tomogram", "class"])
    assert picking.loc[("all", "all"), ["found", "truth", "matched"]].tolist() == [6, 6, 5]
    assert picking.loc[("one", "all"), "precision"] == 0.75
    assert picking.loc[("all", "ring"), "recall"] == 0.75
    clusters = clusters_table(matched).set_index("scope")
    assert clusters["particles"].tolist() == [5, 5, 6]
    contents = contents_table(matched)
    assert contents.columns.tolist() == ["cluster", "ring", "rod", NO_MATCH]
    assert contents.to_numpy().tolist() == [[1, 3, 0, 0], [2, 0, 2, 0], [0, 0, 0, 1]]
    assert clusters["accuracy"].tolist() == [1, 1, 1]
    assert clusters.loc["everything", "noise_fraction"] == pytest.approx(1 / 6)


def test_a_run_is_scored_against_truth_files_of_one_or_several_tomograms() -> None:
    found, truth = particle_table()
    files = {f"{name}_truth.star": table.drop(columns=columns.TOMOGRAM) for name, table in truth.items()}
    single = {"truth.star": pd.concat(truth.values())}
    picks = found.drop(columns=columns.CLASS)
    for pattern, tables in (("{tomogram}_truth.star", files), ("truth.star", single)):
        options = EvaluationOptions(truth=pattern, radius=30)
        scores = score_run(truth, picks, found, {}, tables, options)
        assert scores.picking["matched"].tolist()[:3] == [5, 3, 2]
        assert scores.clusters["accuracy"].tolist() == [1, 1, 1]
        assert scores.contents["ring"].tolist() == [3, 0, 0]
        assert scores.averages["poses"].tolist() == [0, 0]
        assert scores.matches[TRUE_INDEX].tolist() == [0, 1, 2, -1, 0, 1]


def test_poses_and_maps_of_averages_are_scored_over_several_tomograms(tmp_path) -> None:
    found, truth = particle_table()
    rng = np.random.default_rng(0)
    turn = random_rotations(1, rng)[0]
    aligned = found[found[columns.CLASS] == 1].reset_index(drop=True)
    for name, table in truth.items():
        table[list(columns.ANGLES)] = relion_angles(random_rotations(len(table), rng))
        table[SYMMETRY] = "C1"
        rows = aligned[columns.TOMOGRAM] == name
        chosen = table[table[SPECIES] == "ring"].iloc[: rows.sum()]
        truths = Rotation.from_euler("ZYZ", chosen[list(columns.ANGLES)], degrees=True).inv()
        aligned.loc[rows, list(columns.ANGLES)] = relion_angles(truths * turn.inv())
    aligned[list(columns.ORIGINS)] = -10.0
    write_volume(tmp_path / "cluster_01.mrc", blobs(24, 14.0, turn, np.zeros(3)), 14.0)
    write_particles(tmp_path / "cluster_01.star", aligned)
    write_volume(tmp_path / "ring.mrc", blobs(24, 14.0, Rotation.identity(), np.zeros(3)), 14.0)
    averages = read_averages([tmp_path / "cluster_01.mrc"])
    sizes = voxel_sizes_of(found, truth)
    matched = match_particles(found, truth, sizes, radius=30)
    scores = averages_table(matched, {1: averages[1].particles}, sizes)
    assert scores["poses"].tolist() == [3, 0]
    assert scores.loc[0, "angle_error"] < 1e-3
    assert scores.loc[0, "shift_error"] < 1e-3
    assert scores.loc[0, "good_poses"] == 1
    assert with_map_scores(scores, averages, None) is scores
    with_maps = with_map_scores(scores, averages, tmp_path)
    assert with_maps.loc[0, "map_correlation"] > 0.99
    assert np.isnan(with_maps.loc[1, "map_correlation"])


def test_truth_tables_of_others_are_understood() -> None:
    bare = pd.DataFrame(np.zeros((2, 3)), columns=list(columns.COORDINATES))
    assert true_classes(bare).tolist() == ["particle"] * 2
    assert true_classes(bare.assign(**{columns.CLASS: [3, 12]})).tolist() == ["class_03", "class_12"]
    named = bare.assign(**{columns.MICROGRAPH: ["frames/a.mrc", "b"]})
    assert len(of_tomogram(named, "a")) == len(of_tomogram(named, "b")) == 1
    assert len(of_tomogram(bare, "a")) == 2
    assert symmetry_of("ferritin_like", bare) == "O"
    assert symmetry_of("class_03", bare.assign(**{columns.CLASS: 3, SYMMETRY: "C7"})) == "C7"
    assert symmetry_of("1bxn", bare) == "C1"
    assert EvaluationOptions(truth="t/{tomogram}.star").truth_file("x1") == "t/x1.star"
    with pytest.raises(
        DataError,
        match=r"^a particle table has no column rlnCoordinateX, rlnCoordinateY, rlnCoordinateZ; use a STAR file of particles with coordinates$",
    ):
        match_particles(pd.DataFrame({columns.TOMOGRAM: ["a"]}), {"a": bare}, {"a": 1.0}, radius=10)


def test_true_maps_lie_beside_the_truth_unless_said_otherwise(tmp_path) -> None:
    options = EvaluationOptions(truth=f"{tmp_path}/{{tomogram}}.star")
    assert options.maps_directory() is None
    (tmp_path / "maps").mkdir()
    assert options.maps_directory() == tmp_path / "maps"
    assert EvaluationOptions(maps="there").maps_directory() == Path("there")
    assert EvaluationOptions().maps_directory() is None


def test_nothing_found_is_scored(tmp_path) -> None:
    found, truth = particle_table()
    matched = match_particles(found.iloc[:0], truth, voxel_sizes_of(found.iloc[:0], truth), radius=30)
    assert picking_table(matched)["recall"].tolist()[:2] == [0, 0]
    assert clusters_table(matched)["particles"].tolist() == [0, 0, 0]
    assert len(averages_table(matched, {}, {})) == 0
