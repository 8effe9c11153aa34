"""Assignment of new particles to existing clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryopipe import columns
from cryopipe.assignment import assign_boxes, cluster_counts, cluster_probabilities
from cryopipe.clustering import ClusteringOptions
from cryopipe.errors import DataError

CENTRES = np.array([[0.0, 0, 0], [6, 0, 0], [0, 6, 0]])
NUMBERS = np.array([1, 2, 5])
"""Clusters 3 and 4 were merged into others."""


def draw(counts: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of particles and their clusters."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(counts)), counts)
    return CENTRES[groups] + generator.normal(0, 0.7, (len(groups), 3)), NUMBERS[groups]


def test_new_particles_get_the_clusters_that_they_belong_to() -> None:
    known, clusters = draw((200, 100, 60), 1)
    clusters[::25] = columns.UNASSIGNED
    new, truth = draw((3, 40, 50), 2)
    found = cluster_probabilities(
        np.concatenate([new, [[40.0, 40, 40]], [[3.0, 0, 0]]]), known, clusters, 0.001, seed=1
    )
    assert found.names == ("1", "2", "5")
    assert np.mean(NUMBERS[found.probabilities.argmax(axis=1)][:-2] == truth) > 0.97
    assert np.mean(found.unknown[:-2]) < 0.03
    assert found.unknown[-2] == 1
    # half way between the first two
    assert found.probabilities[-1].max() < 0.99
    assert found.probabilities[-1, 2] < 0.01


def test_without_clusters_there_is_nothing_to_assign_to() -> None:
    with pytest.raises(
        DataError, match="no particle is in a cluster; run snakemake, to learn and cluster anew"
    ):
        cluster_probabilities(np.zeros((2, 3)), np.zeros((5, 3)), np.zeros(5, int), 0.001, 1)


class Boxes:
    """Boxes whose features are known."""

    voxel_size = 10.0

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)


class Learner:
    seed = 1

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def embed(self, boxes: Any) -> np.ndarray:
        return self.features.astype(np.float32)


def test_the_table_of_new_particles_has_clusters_posteriors_and_no_duplicates() -> None:
    known, clusters = draw((200, 100, 60), 1)
    new, truth = draw((0, 4, 5), 3)
    names = [f"new/{n}" for n in range(len(new))]
    table = pd.DataFrame({columns.PARTICLE: names, columns.TOMOGRAM: "new", columns.VOXEL_SIZE: 10.0,
                          columns.DIAMETER: 100.0, columns.PICK_SCORE: 5.0})  # fmt: skip
    for axis, name in enumerate(columns.COORDINATES):
        table[name] = 30.0 * np.arange(len(new)) + axis
    table.loc[1, list(columns.COORDINATES)] = table.loc[0, list(columns.COORDINATES)].to_numpy() + 1
    boxes: Any = Boxes(names)
    learner: Any = Learner(new)
    found = assign_boxes(learner, boxes, table, known, clusters, False, ClusteringOptions())
    assert found[columns.PARTICLE].tolist() == names
    # the second particle is the first one again
    assert found[columns.CLASS].tolist() == [truth[0], 0, *truth[2:]]
    assert found.loc[1, columns.POSTERIOR] == 0
    assert (found[columns.POSTERIOR].drop(index=1) > 0.9).all()
    assert columns.CLASS_NAME not in found
    assert cluster_counts(found).to_dict("list") == {"cluster": [2, 5, 0], "particles": [3, 5, 1]}
    none: Any = Boxes([])
    empty: Any = Learner(new[:0])
    assert len(assign_boxes(empty, none, table[:0], known, clusters, True, ClusteringOptions())) == 0
