"""Protocol without labels: train, embed, cluster the features, compare clusters with classes."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.class_scores import cluster_scores
from benchmarks.linear_probe import linear_probe
from benchmarks.task import Task
from cryopipe.clustering import ClusteringOptions, find_clusters


def run(task: Task) -> list[dict[str, Any]]:
    """Return a row of scores per condition.

    Seconds are those of training, embedding and clustering, without the linear probe, which uses true labels.
    """
    fitted = task.fitted()
    truth = task.boxes.truth
    probe = linear_probe(fitted.features, truth, 1.0, task.seed)
    rows = []
    for condition in task.conditions:
        started = time.monotonic()
        # The published tables have no unassigned particles: assign every particle to a cluster.
        considered = task.plan.clusters if condition.clusters is None else condition.clusters
        options = ClusteringOptions(clusters=considered, minimum_posterior=0.0, outlier_probability=0.0)
        found = find_clusters(fitted.features, options, task.seed)
        rows.append(
            {
                "condition": condition.name,
                **cluster_scores(truth, found.labels),
                "probe": probe,
                "seconds": fitted.seconds + time.monotonic() - started,
                "memory_gb": fitted.memory_gb,
            }
        )
    return rows
