"""Protocol of few labels (Gupta et al. 2022): train without labels, fine-tune on a fraction of them, test on other boxes.

The boxes of each class are divided 60:20:20 into training, validation and test. Training without labels uses all training
boxes; fine-tuning uses the labels of a fraction of them, and the validation boxes choose its epoch.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.hardware import peak_memory
from benchmarks.linear_probe import probe_accuracy
from benchmarks.task import Task
from cryopipe.boxes import ChosenBoxes
from cryopipe.errors import ConfigError
from cryopipe.features.learners.contrastive import Contrastive

FRACTIONS = (0.6, 0.2)
"""Fractions of the boxes for training and validation; the others are for the test (published)."""
Indices = NDArray[np.intp]


def division(truth: NDArray[np.int64], seed: int) -> tuple[Indices, Indices, Indices]:
    """Return the indices of the boxes for training, validation and test, each class divided alike.

    The training boxes of each class are in random order, so that the first ones are a random choice.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[Indices]] = [[], [], []]
    for number in np.unique(truth):
        members = rng.permutation(np.flatnonzero(truth == number))
        edges = np.round(np.cumsum(FRACTIONS) * len(members)).astype(int)
        for part, chosen in zip(parts, np.split(members, edges), strict=True):
            part.append(chosen)
    training, validation, test = (np.concatenate(part) for part in parts)
    return training, validation, test


def labelled(truth: NDArray[np.int64], training: Indices, fraction: float) -> Indices:
    """Return the first `fraction` of the training boxes of each class, at least one."""
    chosen = []
    for number in np.unique(truth[training]):
        members = training[truth[training] == number]
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.concatenate(chosen)


def run(task: Task) -> list[dict[str, Any]]:
    """Return a row per condition: accuracy on the test boxes after fine-tuning.

    `probe` is the accuracy of a linear classifier on the features before fine-tuning, with the same labels. Seconds
    include the training without labels, which is done once for all conditions of an SNR.

    Raises
    ------
    ConfigError
        If the learner cannot be fine-tuned.
    """
    learner = task.learner()
    if not isinstance(learner, Contrastive):
        raise ConfigError(
            f"benchmark {task.plan.name}: the learner {task.name!r} cannot be fine-tuned",
            remedy="give it the protocol labels",
        )
    boxes, truth = task.boxes.boxes, task.boxes.truth
    training, validation, test = division(truth, task.seed)
    started = time.monotonic()
    with peak_memory(task.device) as peak:
        learner.fit(ChosenBoxes(boxes, training))
        features = learner.embed(boxes)
    pretrained = time.monotonic() - started
    rows = []
    for condition in task.conditions:
        started = time.monotonic()
        examples = labelled(truth, training, float(condition.labels or 1.0))
        tuned = copy.deepcopy(learner)
        used = np.concatenate([examples, validation])
        held_out = np.arange(len(used)) >= len(examples)
        tuned.fine_tune(ChosenBoxes(boxes, used), truth[used], held_out)
        found = tuned.classify(ChosenBoxes(boxes, test))
        assert found is not None
        rows.append(
            {
                "condition": condition.name,
                "accuracy": float((found.probabilities.argmax(axis=1) == truth[test]).mean()),
                "probe": probe_accuracy(features, truth, examples, test),
                "seconds": pretrained + time.monotonic() - started,
                "memory_gb": peak.gigabytes,
            }
        )
    return rows
