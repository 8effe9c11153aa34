"""Prediction of classes from where particles lie, against permuted labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.evidence.leakage import Factor, leakage_remarks, measure_leakage, named_factor, numeric_factor
from cryopipe.evidence.run_leakage import leakage_of_run, remarks_of_classes
from cryopipe.evidence.specimen import Specimen, mask_points, read_specimens
from cryopipe.evidence.unevenness import in_wedge_frame, measure_views, view_remarks
from cryopipe.files.mrc import write_volume
from cryopipe.particles import pick_table, pose_columns
from cryopipe.tomograms import Tomogram


def of(table: pd.DataFrame, cluster: object, factor: str) -> pd.Series:
    (row,) = table[(table["cluster"] == str(cluster)) & (table["factor"] == factor)].index
    return table.loc[row]


def test_labels_that_follow_nothing_are_called_as_often_as_p_says() -> None:
    rng = np.random.default_rng(5)
    found: dict[str, list[float]] = {}
    for seed in range(100):
        labels, tomograms = rng.integers(0, 4, 120), rng.integers(0, 6, 120)
        factors = [
            named_factor("tomogram", tomograms.astype(str).tolist()),
            # depth differs between tomograms
            numeric_factor("depth", tomograms + rng.random(120), "", strata=tomograms),
        ]
        table = measure_leakage(labels, factors, seed)
        for key, rows in table.groupby(["factor", "cluster"]):
            found.setdefault(str(key), []).extend(rows["p"])
        assert table["explained"].to_numpy() == pytest.approx(table["chance"].to_numpy(), abs=0.2)
    assert len(found) == 10
    for p_values in found.values():
        assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.055)
    assert np.mean(np.concatenate(list(found.values())) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_a_class_of_one_tomogram_does_not_count_as_one_of_a_depth() -> None:
    """A thin tomogram has its particles at one depth; all of them are class 2."""
    rng = np.random.default_rng(2)
    tomograms = np.repeat([0, 1, 2], 60)
    labels = np.where(tomograms == 2, 2, 1)
    depth = np.where(tomograms == 2, rng.uniform(0.4, 0.5, 180), rng.uniform(0, 1, 180))
    factors = [
        named_factor("tomogram", [f"TS_{number}" for number in tomograms]),
        numeric_factor("depth", depth, "of the thickness", ".2f", strata=tomograms),
    ]
    table = measure_leakage(labels, factors, 1)
    row = of(table, 2, "tomogram")
    assert row["explained"] == pytest.approx(1.0)
    assert (row["p"], row["fraction"], row["expected"]) == pytest.approx((0.001, 1.0, 1 / 3))
    assert of(table, 2, "depth")["p"] == 1.0
    assert leakage_remarks(table) == {
        2: ["one tomogram: 100% of its particles, and 33% of all, are in tomogram TS_2"]
    }


def test_a_class_at_a_depth_is_found_and_explained() -> None:
    rng = np.random.default_rng(3)
    tomograms = rng.integers(0, 3, 300)
    depth = rng.random(300)
    labels = np.where(depth > 0.75, 3, rng.integers(1, 3, 300))
    table = measure_leakage(labels, [numeric_factor("depth", depth, "", ".2f", strata=tomograms)], 1)
    row = of(table, 3, "depth")
    assert row["p"] == 0.001
    assert row["explained"] > 0.9
    assert of(table, "all", "depth")["explained"] == pytest.approx(
        row["explained"] * 0.56 / (0.56 + 0.75 * 0.69), abs=0.1
    )
    # four of the eight bins have the same content
    (remark,) = leakage_remarks(table)[3]
    assert remark.startswith("its label follows the depth: 5") or remark.startswith(
        "its label follows the depth: 4"
    )


def test_a_defocus_counts_once_for_each_tomogram() -> None:
    """Classes that differ between tomograms follow the defocus of the tomograms by chance."""
    rng = np.random.default_rng(8)
    p_values, naive = [], []
    for seed in range(100):
        tomograms = np.repeat(np.arange(12), 30)
        labels = (rng.random(360) < rng.uniform(0.1, 0.9, 12)[tomograms]).astype(np.int64) + 1
        defocus = rng.uniform(2, 5, 12)[tomograms]
        for blocks, found in ((tomograms, p_values), (None, naive)):
            factor = numeric_factor("defocus", defocus, "µm", ".2f")
            factor = Factor("defocus", factor.bins, factor.titles, None, blocks)
            found.append(of(measure_leakage(labels, [factor], seed), "all", "defocus")["p"])
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.06)
    assert np.mean(np.array(naive) <= 0.05) > 0.9
    few = np.repeat(np.arange(3), 40)
    factor = numeric_factor("defocus", np.array([2.0, 3.0, 4.0])[few], "µm", blocks=few)
    table = measure_leakage(np.where(few == 0, 1, 2), [factor], 0)
    # of the six orders of three tomograms, two leave the first one in the bin of its own
    assert of(table, "all", "defocus")["p"] == pytest.approx(1 / 3)


def test_one_class_or_one_value_tells_nothing() -> None:
    factor = named_factor("tomogram", ["a"] * 10 + ["b"] * 10)
    assert not len(measure_leakage(np.ones(20, int), [factor], 0))
    assert not len(measure_leakage(np.repeat([1, 2], 10), [named_factor("tomogram", ["a"] * 20)], 0))
    unknown = numeric_factor("defocus", np.full(20, math.nan), "µm")
    assert not len(measure_leakage(np.repeat([1, 2], 10), [unknown], 0))


def test_classes_of_one_orientation_or_one_view_are_told_from_uniform_ones() -> None:
    rng = np.random.default_rng(4)
    alike = Rotation.from_rotvec(rng.normal(0, 0.2, (80, 3))) * Rotation.random(random_state=1)
    # the axis of the beam is the same in all, the rotation about it is not
    about_beam = Rotation.from_rotvec(np.outer(rng.uniform(0, 6.28, 80), [0, 0, 1]))
    one_view = about_beam * Rotation.from_euler("x", 50, degrees=True)
    table = measure_views({1: Rotation.random(80, random_state=2), 2: alike, 3: one_view})
    assert of(table, 1, "orientation")["p"] > 0.01
    assert of(table, 1, "view")["p"] > 0.01
    assert of(table, 2, "orientation")["explained"] > 0.9
    assert of(table, 3, "orientation")["explained"] == pytest.approx(1 / 3, abs=0.05)
    assert of(table, 3, "view")["explained"] == pytest.approx(1.0)
    assert of(table, "all", "view")["p"] < 1e-9
    assert view_remarks(table) == {
        2: "one orientation: 91% of its particles, and 1% of uniform ones, are within 30 degrees about one orientation",
        3: "one view: 100% of its particles, and 13% of uniform ones, are within 30 degrees about one view",
    }


def test_uniform_orientations_are_called_as_often_as_p_says() -> None:
    found = [
        measure_views(
            {1: Rotation.random(40, random_state=seed), 2: Rotation.random(60, random_state=seed + 999)}
        )
        for seed in range(200)
    ]
    table = pd.concat(found)
    for _, rows in table.groupby(["factor", "cluster"]):
        assert np.mean(rows["p"] <= 0.1) == pytest.approx(0.1, abs=0.06)
    mine = table[table["cluster"] == "1"]
    assert mine["explained"].mean() == pytest.approx(mine["chance"].mean(), rel=0.1)


def test_orientations_are_those_to_the_tilt_axis() -> None:
    """The same orientation to beam and tilt axis, in tomograms with the axis along y and along x."""
    about_y = Rotation.from_euler("xyz", [20, 30, 40], degrees=True)
    # what lies along y in the one lies along x in the other
    about_x = Rotation.from_euler("z", -90, degrees=True) * about_y
    same = in_wedge_frame(Rotation.concatenate([about_y, about_x]), np.array([False, True]))
    assert (same[0].inv() * same[1]).magnitude() == pytest.approx(0, abs=1e-9)


def run_tables() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Specimen]]:
    """Two tomograms; class 1 is anywhere, class 2 within 30 nm of a membrane, class 3 within 15 nm of the faces."""
    rng = np.random.default_rng(6)
    size = np.array([200, 180, 60])
    membrane = np.column_stack([np.full(1000, 900.0), rng.uniform(0, 1800, 1000), rng.uniform(0, 600, 1000)])
    specimens = {
        "a": Specimen((60, 180, 200), 10.0, False, 3.0, None, membrane),
        "b": Specimen((60, 180, 200), 10.0, True, 4.0, None, membrane),
    }
    tables = []
    for name in specimens:
        places = rng.uniform(0, size - 1, (240, 3))
        classes = np.repeat([0, 1, 2, 3], [40, 80, 60, 60])
        places[classes == 2, 0] = 90 + rng.uniform(-30, 30, 60) / 10
        places[classes == 3, 2] = np.where(
            rng.random(60) < 0.5, rng.uniform(0, 8, 60), rng.uniform(51, 59, 60)
        )
        one = pick_table(name, f"{name}.mrc", places, 10.0, np.ones(240), np.full(240, 200.0))
        tables.append(one.assign(**{columns.CLASS: classes}))
    particles = pd.concat(tables, ignore_index=True)
    aligned = particles[particles[columns.CLASS] > 0]
    poses = pose_columns(Rotation.random(len(aligned), random_state=1), np.zeros((len(aligned), 3)))
    return particles, aligned.assign(**poses), specimens


def test_classes_at_membranes_and_faces_are_named_in_words() -> None:
    particles, aligned, specimens = run_tables()
    table = leakage_of_run(particles, aligned, specimens, 1)
    assert set(table["factor"]) == {
        *("tomogram", "depth", "distance to the faces", "distance to membranes", "defocus"),
        *("orientation", "view"),
    }
    assert list(table.columns)[:6] == ["cluster", "factor", "particles", "explained", "chance", "p"]
    assert of(table, 2, "distance to membranes")["p"] == 0.001
    assert of(table, 3, "distance to the faces")["p"] == 0.001
    assert of(table, 1, "tomogram")["explained"] < 0.01
    remarks = remarks_of_classes(table)
    assert set(remarks) == {2, 3}
    assert remarks[2][0].startswith("its label follows the distance to membranes: ")
    assert remarks[3][-1].startswith("its label follows the distance to the faces: ")
    empty = leakage_of_run(particles.iloc[:0], aligned.iloc[:0], specimens, 1)
    assert not len(empty)
    assert remarks_of_classes(empty) == {}


def test_distances_to_membranes_are_those_of_the_mask(tmp_path: Path) -> None:
    mask = np.zeros((40, 60, 700), np.int8)
    mask[10, 20, 400] = 1
    write_volume(tmp_path / "a.mrc", np.zeros(mask.shape, np.float32), 5.0)
    write_volume(tmp_path / "a_membranes.mrc", mask, 5.0)
    tomogram = Tomogram("a", str(tmp_path / "a.mrc"), tilt_axis="-x", defocus=2.5)
    (specimen,) = read_specimens([tomogram], str(tmp_path / "{tomogram}_membranes.mrc")).values()
    assert (specimen.shape_zyx, specimen.voxel_size, specimen.along_x, specimen.defocus) == (
        (40, 60, 700),
        5.0,
        True,
        2.5,
    )
    # bins of three voxels
    places = np.array([[2000.0, 100.0, 50.0], [2000.0, 400.0, 50.0]])
    assert specimen.membrane_distance(places) == pytest.approx([0, 300], abs=12)
    assert specimen.face_distance(places) == pytest.approx([50, -105])
    # two voxels are one point
    assert mask_points(mask[:, :, 300:], 1.0).tolist() == [[100.5, 20.5, 10.5]]
    write_volume(tmp_path / "a_membranes.mrc", mask[1:], 5.0)
    with pytest.raises(DataError, match=r"mask of shape \(39, 60, 700\) \(z, y, x\) for a tomogram of shape"):
        read_specimens([tomogram], str(tmp_path / "{tomogram}_membranes.mrc"))
