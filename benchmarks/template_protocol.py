"""Protocol of template matching: the class of a particle is the true map with the highest score."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.class_scores import class_scores
from benchmarks.hardware import peak_memory
from benchmarks.linear_probe import linear_probe
from benchmarks.task import Task
from cryopipe.features.learners.template import TemplateMatching


def run(task: Task) -> list[dict[str, Any]]:
    """Return a row per condition; with a class without particles, it is assigned where noise is more probable."""
    learner, boxes = task.learner(), task.boxes.boxes
    assert isinstance(learner, TemplateMatching)
    started = time.monotonic()
    with peak_memory(task.device) as peak:
        learner.use(list(task.phantoms), boxes)
        features = learner.embed(boxes)
        found = learner.classify(boxes)
    assert found is not None
    seconds = time.monotonic() - started
    classes = features.argmax(axis=1).astype(np.int64)
    if task.plan.classes.empty:
        classes[found.unknown > 0.5] = len(task.phantoms)
    scores = class_scores(task.boxes.truth, classes)
    scores["probe"] = linear_probe(features, task.boxes.truth, 1.0, task.seed)
    cost = {"seconds": seconds, "memory_gb": peak.gigabytes}
    return [{"condition": condition.name, **scores, **cost} for condition in task.conditions]
