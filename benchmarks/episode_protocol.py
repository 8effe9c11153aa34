"""Few-shot protocols: two classes, one or five examples of each, other boxes classified by the nearest prototype."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.linear_probe import linear_probe
from benchmarks.task import Task
from cryopipe.features.learners.protonet import ProtonetLearner
from cryopipe.features.prototypes import Distances, squared_distances

EPISODES = 100
WAYS = 2
QUERIES = 15
"""Boxes of each class that are classified in an episode, as published."""


def five_shot(task: Task) -> list[dict[str, Any]]:
    """Return a row per condition: mean accuracy of episodes with five examples of each class."""
    return _run(task, 5)


def one_shot(task: Task) -> list[dict[str, Any]]:
    """Return a row per condition: mean accuracy of episodes with one example of each class."""
    return _run(task, 1)


def _run(task: Task, shots: int) -> list[dict[str, Any]]:
    fitted = task.fitted()
    started = time.monotonic()
    learner = fitted.learner
    distances = learner.distances() if isinstance(learner, ProtonetLearner) else squared_distances
    accuracy = episode_accuracy(fitted.features, task.boxes.truth, shots, task.seed, distances)
    seconds = fitted.seconds + time.monotonic() - started
    probe = linear_probe(fitted.features, task.boxes.truth, 1.0, task.seed)
    row = {"accuracy": accuracy, "probe": probe, "seconds": seconds, "memory_gb": fitted.memory_gb}
    return [{"condition": condition.name, **row} for condition in task.conditions]


def episode_accuracy(
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    shots: int,
    seed: int,
    distances: Distances = squared_distances,
    episodes: int = EPISODES,
) -> float:
    """Return the mean accuracy over episodes.

    Parameters
    ----------
    features
        (n, d).
    truth
        (n,) class numbers; each class has at least `shots` + `QUERIES` boxes.
    shots
        Examples of each class.
    seed
        Seed of the episodes.
    distances
        (means, features) -> squared distances.
    episodes
        Number of episodes.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(truth == number) for number in np.unique(truth)]
    accuracies = []
    for _ in range(episodes):
        chosen = [
            rng.permutation(members[n])[: shots + QUERIES] for n in rng.permutation(len(members))[:WAYS]
        ]
        means = np.stack([features[rows[:shots]].mean(axis=0) for rows in chosen])
        found = distances(means, np.concatenate([features[rows[shots:]] for rows in chosen])).argmin(axis=1)
        expected = np.repeat(np.arange(len(chosen)), [len(rows) - shots for rows in chosen])
        accuracies.append(np.mean(found == expected))
    return float(np.mean(accuracies))
