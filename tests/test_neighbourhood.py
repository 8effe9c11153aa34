"""Neighbours of classes, against shuffled positions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.evidence.run_leakage import leakage_of_run
from cryopipe.evidence.run_neighbourhood import neighbourhood_of_run, pair_correlation
from cryopipe.evidence.shuffling import region_of, shuffled_positions
from cryopipe.evidence.specimen import Specimen
from cryopipe.particles import pick_table, pose_columns
from cryopipe.report.relations import relations

VOXEL, DIAMETER = 10.0, 200.0
SHAPE = (60, 400, 400)
SIZE = (np.array(SHAPE[::-1]) - 1) * VOXEL


def scattered(
    count: int, rng: np.random.Generator, nearest: float = 200.0, near: np.ndarray | None = None
) -> np.ndarray:
    """Random places in the volume, x, y, z in angstrom, no two nearer to each other than `nearest`."""
    places = [] if near is None else list(near)
    start = len(places)
    while len(places) < count + start:
        place = rng.uniform([100, 100, 100], SIZE - 100)
        if all(np.linalg.norm(place - other) >= nearest for other in places):
            places.append(place)
    return np.array(places[start:])


def table(places: np.ndarray, classes: np.ndarray, rotations: Rotation, name: str = "a") -> pd.DataFrame:
    count = len(places)
    made = pick_table(name, f"{name}.mrc", places / VOXEL, VOXEL, np.ones(count), np.full(count, DIAMETER))
    poses = pose_columns(rotations, np.zeros((count, 3)))
    return made.assign(**poses, **{columns.CLASS: classes})


def row(found: pd.DataFrame, cluster: int, neighbour: object) -> pd.Series:
    return found[(found["cluster"] == cluster) & (found["neighbour"] == str(neighbour))].iloc[0]


def dimers(seed: int, alike: bool) -> pd.DataFrame:
    """Three tomograms: class 1 is bound to half of class 2 at 240 A, class 3 is anywhere."""
    rng = np.random.default_rng(seed)
    tables = []
    bound = Rotation.from_euler("xyz", [30, 60, 10], degrees=True)
    for name in "abc":
        first = scattered(20, rng, 500)
        rotations = Rotation.random(20, random_state=int(rng.integers(2**31)))
        steps = (
            rotations.apply([0.0, 240.0, 0.0])
            if alike
            else Rotation.random(20, random_state=seed).apply([0, 240.0, 0])
        )
        second = first + steps
        inside = ((second > 20) & (second < SIZE - 20)).all(axis=1)
        partners = rotations * bound if alike else Rotation.random(20, random_state=seed + 1)
        free = scattered(40, rng, 200, np.concatenate([first, second[inside]]))
        places = np.concatenate([first, second[inside], free])
        classes = np.repeat([1, 2, 3], [20, int(inside.sum()), 40])
        poses = [rotations, partners[inside], Rotation.random(40, random_state=int(rng.integers(2**31)))]
        tables.append(table(places, classes, Rotation.concatenate(poses), name))
    return pd.concat(tables, ignore_index=True)


SPECIMENS = {name: Specimen(SHAPE, VOXEL) for name in "abc"}


@pytest.mark.parametrize("alike", [True, False])
def test_dimers_are_found_with_their_distance_and_their_relative_orientation(alike: bool) -> None:
    found, curves = neighbourhood_of_run(dimers(1, alike), SPECIMENS, None, 1)
    pair = row(found, 1, 2)
    assert pair["p"] == 0.005
    assert pair["excess_at"] == pytest.approx(240, abs=25)
    assert pair["ratio"] > 4
    assert pair["in_contact"] > 0.6 > pair["contact_high"]
    assert (pair["orientation_p"] < 0.05) == alike
    if alike:
        assert pair["orientation"] > 0.8
    for cluster, neighbour in ((1, 3), (2, 3), (3, 3), (1, 1)):
        assert row(found, cluster, neighbour)["p"] > 0.05
    curve = pair_correlation(curves)
    peak = curve[(curve["cluster"] == 1) & (curve["neighbour"] == "2")].set_index("distance")
    assert peak.loc[260.0, "correlation"] > peak.loc[260.0, "highest"] or peak.loc[220.0, "correlation"] > 3
    far = peak[peak.index > 500]
    assert far["correlation"].mean() == pytest.approx(1, abs=0.25)


def test_a_chain_is_found_among_particles_of_one_class() -> None:
    """Polysomes: six chains of six particles, 250 A apart, each rotated by the same angle against the one before."""
    rng = np.random.default_rng(2)
    places, poses = [], []
    for start in scattered(6, rng, 900):
        # towards the middle, along the x axis of the average
        across = np.arctan2(*(SIZE / 2 - start)[1::-1])
        pose = Rotation.from_euler("z", across) * Rotation.from_euler("x", rng.uniform(0, 6.28))
        place = start
        for _ in range(6):
            places.append(place)
            poses.append(pose)
            place, pose = place + pose.apply([250.0, 0, 0]), pose * Rotation.from_euler("x", 50, degrees=True)
    free = scattered(60, rng, 220, np.array(places))
    rotations = Rotation.concatenate([*poses, Rotation.random(60, random_state=3)])
    aligned = table(np.concatenate([places, free]), np.ones(96, int), rotations)
    found, curves = neighbourhood_of_run(aligned, SPECIMENS, None, 1)
    assert row(found, 1, 1)["p"] == 0.005
    # at the distance of neighbours, and of the neighbours of these
    curve = pair_correlation(curves).set_index("distance")
    for distance in (260.0, 500.0):
        assert curve.loc[distance, "correlation"] > max(2, curve.loc[distance, "highest"])
    assert row(found, 1, 1)["orientation_p"] == 0.001


def test_random_positions_are_called_neighbours_no_more_often_than_p_says() -> None:
    p_values, orientations = [], []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        places = scattered(60, rng)
        rotations = Rotation.random(60, random_state=seed)
        found, _ = neighbourhood_of_run(
            table(places, rng.integers(1, 4, 60), rotations), SPECIMENS, None, seed
        )
        p_values.append(found["p"].min())
        orientations.append(found["orientation_p"].min())
    assert sum(np.array(p_values) <= 0.05) <= 2
    assert sum(np.array(orientations) <= 0.05) <= 2


def test_particles_of_thin_ice_are_no_neighbours_for_it() -> None:
    """In a layer a fifth as thick as the volume, particles are nearer to each other than in all of it."""
    rng = np.random.default_rng(5)
    p_values = []
    for seed in range(6):
        places = scattered(70, rng, 150)
        places[:, 2] = 250 + (places[:, 2] - 100) / 4
        found, _ = neighbourhood_of_run(
            table(places, np.ones(70, int), Rotation.random(70)), SPECIMENS, None, seed
        )
        p_values.append(found["p"].min())
    assert sum(np.array(p_values) <= 0.05) <= 1


def test_shuffled_positions_are_inside_and_not_too_near() -> None:
    rng = np.random.default_rng(7)
    mask = np.zeros(SHAPE, np.int8)
    mask[:, :, :200] = 1
    specimen = Specimen(SHAPE, VOXEL, mask=mask)
    places = scattered(50, rng, 150) * [0.48, 1, 1]
    nearest = pdist(places).min()
    region = region_of(places, specimen, 100.0)
    moved = shuffled_positions(places, region, 800.0, nearest, 20, rng)
    assert moved.shape == (20, len(places), 3)
    assert (moved >= region.low).all()
    assert (moved <= region.high).all()
    assert region.allowed(moved.reshape(-1, 3)).all()
    assert min(pdist(one).min() for one in moved) >= nearest * 0.999999
    assert np.linalg.norm(moved - places, axis=2).mean() > 300
    # spread over the whole mask
    assert moved[..., 1].mean() == pytest.approx(SIZE[1] / 2, rel=0.1)


def test_the_page_shows_what_labels_follow_and_the_nearest_classes() -> None:
    aligned = dimers(1, True)
    neighbours, curves = neighbourhood_of_run(aligned, SPECIMENS, None, 1)
    leakage = leakage_of_run(aligned, aligned, SPECIMENS, 1)
    shown = relations({"leakage": leakage, "neighbourhood": neighbours, "distances": curves})
    assert shown["leakage"]["header"][:3] == ["cluster", "tomogram", "depth"]
    assert [one[0] for one in shown["leakage"]["rows"]] == ["all classes", "1", "2", "3"]
    first = shown["neighbours"]["rows"][0]
    assert {str(first[0]), first[1]} == {"1", "2"}
    assert first[6] == "0.005"
    title, chart = shown["charts"][0]
    assert title == "Cluster 1 and cluster 2, p 0.005"
    assert "97.5 % of shuffled positions" in chart
    assert len(shown["charts"]) == 6
    assert relations({}) == {"leakage": None, "neighbours": None, "charts": []}


def test_contact_with_membranes_is_found() -> None:
    rng = np.random.default_rng(9)
    y, z = np.meshgrid(np.arange(0, 4000, 20.0), np.arange(0, 600, 20.0))
    membrane = np.column_stack([np.full(y.size, 2000.0), y.ravel(), z.ravel()])
    specimens = {"a": Specimen(SHAPE, VOXEL, membranes=membrane)}
    places = scattered(70, rng, 120)
    places[:30, 0] = 2000 + rng.uniform(-1, 1, 30) * 20 + rng.choice([-120, 120], 30)
    classes = np.repeat([1, 2], [30, 40])
    found, curves = neighbourhood_of_run(table(places, classes, Rotation.random(70)), specimens, None, 1)
    assert row(found, 1, "membrane")["p"] == 0.005
    assert row(found, 1, "membrane")["excess_at"] == pytest.approx(120, abs=25)
    assert row(found, 1, "membrane")["in_contact"] == 1.0
    assert row(found, 2, "membrane")["p"] > 0.05
    assert set(curves["neighbour"]) == {"1", "2", "membrane"}


def test_a_run_without_particles_has_empty_tables() -> None:
    found, curves = neighbourhood_of_run(pd.DataFrame(columns=[columns.CLASS]), {}, None, 1)
    assert not len(found)
    assert not len(curves)
    lonely = table(np.array([[500.0, 500.0, 300.0]]), np.ones(1, int), Rotation.identity(1))
    found, _ = neighbourhood_of_run(lonely, SPECIMENS, None, 1)
    assert row(found, 1, 1)["p"] == 1.0
