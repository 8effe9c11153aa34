"""Protocol of classes decided by averages: train, embed, cluster, then classify the boxes by averages of classes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.class_scores import cluster_scores
from benchmarks.hardware import peak_memory
from benchmarks.task import Task
from cryopipe.averaging.options import MASK_MARGIN
from cryopipe.classification import classify_boxes, many_clusters
from cryopipe.clustering import ClusteringOptions, find_clusters


def run(task: Task) -> list[dict[str, Any]]:
    """Return a row of scores per condition; seconds are those of training, embedding, clustering and classification."""
    fitted, boxes = task.fitted(), task.boxes.boxes
    options = task.plan.classification_options(task.name)
    diameter = MASK_MARGIN * 2 * float(np.median([one.radius for one in task.phantoms]))
    rows = []
    for condition in task.conditions:
        started = time.monotonic()
        considered = task.plan.clusters if condition.clusters is None else condition.clusters
        clustering = ClusteringOptions(clusters=considered, minimum_posterior=0.0, outlier_probability=0.0)
        clusters = find_clusters(fitted.features, clustering, task.seed).labels
        features = fitted.features.astype(float)
        many = many_clusters(features, int(clusters.max()), options, clustering, task.seed)
        with peak_memory(task.device) as peak:
            found = classify_boxes(
                boxes, boxes.tilt_ranges, features, many, np.arange(len(boxes)),
                task.phantoms[0].voxel_size, diameter, replace(options, minimum_posterior=0.0), task.seed, task.device,
            )  # fmt: skip
        rows.append(
            {
                "condition": condition.name,
                **cluster_scores(task.boxes.truth, found.labels),
                "seconds": fitted.seconds + time.monotonic() - started,
                "memory_gb": max(fitted.memory_gb, peak.gigabytes),
            }
        )
    return rows
