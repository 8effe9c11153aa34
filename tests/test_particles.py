"""The particle table and the poses in its columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.files.box_stacks import BoxStack, BoxWriter
from cryopipe.particles import (
    boxes_of_particles,
    pick_table,
    pose_columns,
    poses_of_table,
    shifts_of_table,
)
from cryopipe.volume.geometry import angular_distance

COORDINATES = np.array([[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]])


def picks() -> pd.DataFrame:
    return pick_table("ts", "raw/ts.mrc", COORDINATES, 8.0, np.array([5.0, 4.0]), np.array([120.0, 90.0]))


def test_picks_become_a_table_with_names_and_units() -> None:
    table = picks()
    assert table[columns.PARTICLE].tolist() == ["ts/1", "ts/2"]
    assert table[columns.MICROGRAPH].tolist() == ["raw/ts.mrc"] * 2
    np.testing.assert_array_equal(table[list(columns.COORDINATES)], COORDINATES)
    for name, values in (
        (columns.VOXEL_SIZE, [8, 8]),
        (columns.PICK_SCORE, [5, 4]),
        (columns.DIAMETER, [120, 90]),
    ):
        assert table[name].tolist() == values
    assert len(pick_table("ts", "ts.mrc", np.zeros((0, 3)), 8.0, np.zeros(0), np.zeros(0))) == 0


def test_poses_go_into_columns_and_come_back() -> None:
    rotations = Rotation.from_euler("ZYZ", [[20, 50, -70], [-10, 120, 5]], degrees=True)
    shifts = np.array([[4.0, -16.0, 0.0], [0.0, 0.0, 24.0]])
    table = picks().assign(**pose_columns(rotations, shifts))
    assert table[columns.ORIGINS[1]].tolist() == [16.0, 0.0]
    assert not np.signbit(table[columns.ORIGINS[2]].iloc[0])  # 0, not -0
    positions, found = poses_of_table(table)
    np.testing.assert_allclose(positions, COORDINATES + shifts / 8)
    assert angular_distance(found, rotations).max() < 1e-6
    assert set(pose_columns(None, shifts)) == set(columns.ORIGINS)
    assert shifts_of_table(picks()).tolist() == np.zeros((2, 3)).tolist()
    none = picks().iloc[:0]
    assert none.assign(**pose_columns(Rotation.from_quat(np.zeros((0, 4))), np.zeros((0, 3)))).empty


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_boxes_of_chosen_particles_have_them_at_the_centre(axis: int, tmp_path: Path) -> None:
    boxes = np.zeros((3, 8, 8, 8), np.float32)
    place = [4, 4, 4]
    place[axis] += 2
    boxes[2][tuple(place[::-1])] = 9.0
    with BoxWriter(tmp_path / "boxes.h5", 8, 8.0, (-60.0, 50.0), "ts") as writer:
        writer.append(boxes, ["ts/1", "ts/2", "ts/3"])
    shifts = np.zeros((2, 3))
    shifts[0, axis] = 17.0  # angstrom, two voxels and a little
    table = picks().assign(**{columns.PARTICLE: ["ts/3", "ts/1"]}, **pose_columns(None, shifts))
    stack = BoxStack([tmp_path / "boxes.h5"])
    chosen, whole = boxes_of_particles(stack, table)
    assert chosen.shape == (2, 8, 8, 8)
    assert whole.tolist() == np.rint(shifts / 8).tolist()
    assert chosen[np.array([0])][0, 4, 4, 4] == 9.0
    assert chosen.tilt_ranges.tolist() == [[-60.0, 50.0]] * 2
