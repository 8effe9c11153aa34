"""Protocol with a fraction of the labels: features without labels, then a linear probe."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.linear_probe import linear_probe
from benchmarks.task import Task


def run(task: Task) -> list[dict[str, Any]]:
    """Return a row per condition: the accuracy of a linear probe trained with the condition's fraction of labels."""
    fitted = task.fitted()
    rows = []
    for condition in task.conditions:
        started = time.monotonic()
        probe = linear_probe(fitted.features, task.boxes.truth, float(condition.labels or 1.0), task.seed)
        seconds = fitted.seconds + time.monotonic() - started
        rows.append(
            {
                "condition": condition.name,
                "accuracy": probe,
                "probe": probe,
                "seconds": seconds,
                "memory_gb": fitted.memory_gb,
            }
        )
    return rows
