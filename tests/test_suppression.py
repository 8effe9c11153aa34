"""Suppression of points by distance: greedy by strength, by the stated distance, within groups."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryopipe.volume.suppression import suppress


@pytest.mark.parametrize("distance_of", ["both", "stronger"])
@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), largest=st.floats(0.5, 5))
def test_suppression_is_greedy_and_ignores_the_order_of_the_points(
    distance_of: Literal["both", "stronger"], seed: int, count: int, largest: float
) -> None:
    rng = np.random.default_rng(seed)
    points, strengths = rng.uniform(0, 10, (count, 3)), rng.integers(0, 6, count).astype(float)
    limits, groups = rng.uniform(0, largest, count), rng.choice(["a", "b"], count)
    kept = suppress(points, strengths, limits, groups=groups, distance_of=distance_of)
    expected: list[int] = []
    for i in np.lexsort((*points.T, -strengths)):
        stronger = [j for j in expected if groups[j] == groups[i]]
        limit = {j: max(limits[i], limits[j]) if distance_of == "both" else limits[j] for j in stronger}
        if all(np.linalg.norm(points[i] - points[j]) >= limit[j] for j in stronger):
            expected.append(int(i))
    assert kept.tolist() == expected
    order = rng.permutation(count)
    again = suppress(
        points[order], strengths[order], limits[order], groups=groups[order], distance_of=distance_of
    )
    assert order[again].tolist() == expected


def test_without_groups_all_points_are_compared() -> None:
    points = [[0, 0, 0], [3, 0, 0], [6, 0, 0], [50, 0, 0]]
    assert suppress(points, [1, 3, 2, 0], [4.0] * 4).tolist() == [1, 3]
    assert suppress(points[:3], [3, 2, 1], [4.0] * 3).tolist() == [0, 2]


def test_of_equally_strong_points_the_first_by_position_or_by_order_is_kept() -> None:
    points = [[1, 0, 0], [0, 0, 0]]
    assert suppress(points, [1, 1], [4, 4]).tolist() == [1]
    assert suppress(points, [1, 1], [4, 4], ties="order").tolist() == [0]
    assert suppress(np.zeros((2, 3)), [1, 1], [0, 0]).tolist() == [0, 1]
