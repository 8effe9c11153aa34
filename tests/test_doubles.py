from __future__ import annotations

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.averaging.doubles import (
    count_doubles,
    doubles_of,
    gather_tables,
    mark_doubles,
    with_ctf_limits,
    without_doubles,
)
from cryopipe.particles import pose_columns


def located(
    places: np.ndarray, scores: list[float], cluster: int, tomogram: str = "a", extent: float = 200.0
) -> pd.DataFrame:
    """Particles picked 30 A beside these places, angstrom."""
    count = len(places)
    table = pd.DataFrame(
        {
            columns.PARTICLE: [f"{tomogram}/{cluster}{i}" for i in range(count)],
            columns.TOMOGRAM: tomogram,
            columns.VOXEL_SIZE: 10.0,
            columns.CLASS: cluster,
            columns.ALIGNMENT_SCORE: scores,
            columns.ALIGNMENT_KEPT: 1,
            columns.EXTENT: extent,
        }
    )
    picks = places + np.array([30.0, 0, 0])
    for axis, name in enumerate(columns.COORDINATES):
        table[name] = picks[:, axis] / 10
    return table.assign(**pose_columns(None, places - picks))


def test_of_particles_at_one_place_the_best_is_kept() -> None:
    line = np.zeros((4, 3))
    line[:, 0] = [0, 80, 400, 510]
    first = located(line, [0.5, 0.6, 0.7, 0.2], 1)
    # Of another cluster, at the place of the third; the same place in another tomogram; and far away.
    second = located(np.array([[400.0, 50, 0], [2000, 0, 0]]), [0.9, 0.1], 2)
    elsewhere = located(np.array([[400.0, 50, 0]]), [0.95], 2, "b")
    table = mark_doubles(gather_tables([first, second, elsewhere]), 0.5)
    double_of = dict(zip(table[columns.PARTICLE], table[columns.DOUBLE_OF], strict=True))
    assert {name: kept for name, kept in double_of.items() if kept != "None"} == {
        "a/10": "a/11",
        "a/12": "a/20",
    }
    assert count_doubles(table) == {1: 2}
    assert without_doubles(table)[columns.PARTICLE].tolist() == ["a/11", "a/13", "a/20", "a/21", "b/20"]
    lost = doubles_of(table)
    assert lost[columns.PARTICLE].tolist() == ["a/10", "a/12"]
    assert set(lost[columns.CLASS]) == {0}
    assert set(lost[columns.ALIGNMENT_KEPT]) == {0}
    assert (mark_doubles(table, 0.0)[columns.DOUBLE_OF] == "None").all()


def test_a_particle_outside_its_average_gives_way() -> None:
    table = located(np.zeros((2, 3)), [0.9, 0.3], 1)
    table[columns.ALIGNMENT_KEPT] = [0, 1]
    assert mark_doubles(table, 0.5)[columns.DOUBLE_OF].tolist() == ["a/11", "None"]


def test_no_particles_have_no_doubles() -> None:
    table = mark_doubles(gather_tables([]), 0.5)
    assert count_doubles(table) == {}
    assert len(without_doubles(table)) == len(doubles_of(table)) == 0


def test_doubles_have_no_ctf_limit_where_averaged_boxes_have_one() -> None:
    averaged = pd.DataFrame({columns.PARTICLE: ["a/1"], columns.CTF_LIMIT: [31.7]})
    doubles = pd.DataFrame({columns.PARTICLE: ["a/2"]})
    table = with_ctf_limits(gather_tables([averaged, doubles]))
    assert table[columns.CTF_LIMIT].tolist() == [31.7, 0.0]
    pd.testing.assert_frame_equal(with_ctf_limits(doubles), doubles)
