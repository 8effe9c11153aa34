"""Learners side by side on the same simulated boxes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.box_sets import BoxSet, FloatArray, measure_snr, simulate_set
from benchmarks.hardware import peak_memory
from benchmarks.plan import BenchmarkPlan, Condition, Size
from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.evaluation.cluster_scores import score_clusters
from cryopipe.features import Learner, create_learner
from cryopipe.progress import Progress
from cryopipe.simulation.maps import read_named_maps
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

logger = logging.getLogger(__name__)
TEST_SHARE = 0.2
"""Share of the boxes that a linear probe never sees."""


@dataclass(frozen=True)
class Leaderboard:
    """Results of a benchmark.

    Attributes
    ----------
    runs
        One row per condition, learner and seed: scores, clusters (found), seconds, memory_gb.
    classes
        Names of the classes, in the simulator's order.
    measured_snr
        By name of the condition; NaN where there is no noise.
    size
        Name of the plan's size that ran.
    maps
        Whether the classes were maps, not phantoms.
    boxes
        Number of boxes, and voxels along an edge.
    """

    runs: pd.DataFrame
    classes: list[str]
    measured_snr: dict[str, float]
    size: str
    maps: bool
    boxes: tuple[int, int]


def benchmark_phantoms(plan: BenchmarkPlan, templates: str | os.PathLike[str] | None) -> list[Phantom]:
    """Return the benchmark's classes: maps of a directory that stand in, or procedural phantoms.

    Raises
    ------
    SimulationError
        If a map is missing.
    """
    voxel_size, resolution = float(plan.boxes["voxel_size"]), float(plan.boxes["resolution"])
    classes = plan.classes
    if templates is None:
        return stock_phantoms(
            classes.count, voxel_size, resolution, classes.first_seed, classes.largest_radius
        )
    return read_named_maps(templates, classes.templates, voxel_size, resolution)


def run_benchmark(
    plan: BenchmarkPlan,
    size_name: str,
    learners: Sequence[str],
    phantoms: Sequence[Phantom],
    device: torch.device,
    maps: bool = False,
    cut: BoxSet | None = None,
    encoder: str | None = None,
) -> Leaderboard:
    """Run every learner on the same boxes, for every SNR and seed.

    Parameters
    ----------
    plan, size_name
        What to run and how much of it.
    learners
        Names in the plan's table of learners, or the pipeline's own names.
    phantoms
        The classes.
    device
        Where to compute.
    maps
        Whether the classes are maps and need the larger boxes.
    cut
        Boxes that were cut from simulated tomograms: the same ones for every seed.
    encoder
        A file of weights in place of the shipped encoder's.
    """
    size = plan.sizes[size_name]
    wanted = plan.conditions_at(size)
    levels = list(dict.fromkeys(condition.snr for condition in wanted))
    counter = Progress(len(levels) * len(size.seeds) * len(learners), "runs", plan.name, interval=0.0)
    rows: list[dict[str, Any]] = []
    measured: dict[float, float] = {}
    for snr in levels:
        conditions = [condition for condition in wanted if condition.snr == snr]
        options = plan.box_options(size, snr, maps)
        measured[snr] = cut.measured_snr if cut else measure_snr(phantoms, options, device)
        for seed in size.seeds:
            labels = torch.arange(len(phantoms) + plan.classes.empty).repeat_interleave(size.boxes_per_class)
            chosen = cut or simulate_set(phantoms, options, labels, device, seed)
            for name in learners:
                learner = create_learner_of(plan, size, name, device, seed, encoder)
                rows += _run_learner(plan, name, learner, chosen, conditions)
                counter.advance()
    names = [phantom.name for phantom in phantoms] + ["no particle"] * plan.classes.empty
    snrs = {condition.name: measured[condition.snr] for condition in wanted}
    return Leaderboard(pd.DataFrame(rows), names, snrs, size_name, maps, chosen.boxes.shape[:2])


def create_learner_of(
    plan: BenchmarkPlan, size: Size, name: str, device: torch.device, seed: int, encoder: str | None = None
) -> Learner:
    """Return the learner that a plan calls `name`."""
    options = plan.feature_options(name, size, encoder)
    return create_learner(options.learner, options, device, seed)


def _run_learner(
    plan: BenchmarkPlan, name: str, learner: Learner, chosen: BoxSet, conditions: Sequence[Condition]
) -> list[dict[str, Any]]:
    """Fit one learner once and score it under every condition that shares these boxes."""
    started = time.monotonic()
    with peak_memory(learner.device) as peak:
        learner.fit(chosen.boxes)
        features = learner.embed(chosen.boxes)
    learned = time.monotonic() - started
    rows = []
    for condition in conditions:
        started = time.monotonic()
        scores = _score(features, chosen.truth, condition, plan.clusters, learner.seed)
        seconds = learned + time.monotonic() - started
        row = {"condition": condition.name, "learner": name, "seed": learner.seed, **scores}
        rows.append({**row, "seconds": seconds, "memory_gb": peak.gigabytes})
        shown = ", ".join(f"{key} {value:.3g}" for key, value in scores.items() if np.isfinite(value))
        logger.info("%s, %s, seed %d: %s", condition.name, name, learner.seed, shown)
    return rows


def _score(
    features: FloatArray,
    truth: NDArray[np.int64],
    condition: Condition,
    clusters: tuple[int, int],
    seed: int,
) -> dict[str, float]:
    """Score clusters of the features, or a linear probe where the condition names a share of labels."""
    empty = dict.fromkeys(
        ("homogeneity", "completeness", "v_measure", "rand_index", "clusters"), float("nan")
    )
    if condition.labels is not None:
        return {"accuracy": linear_probe(features, truth, condition.labels, seed), **empty}
    # The tables know no noise class: every particle has to be in a cluster.
    considered = clusters if condition.clusters is None else condition.clusters
    options = ClusteringOptions(clusters=considered, minimum_posterior=0.0, outlier_probability=0.0)
    found = find_clusters(features, options, seed)
    scores = score_clusters(truth.astype(str), found.labels)
    return {
        "accuracy": scores.accuracy,
        "homogeneity": scores.homogeneity,
        "completeness": scores.completeness,
        "v_measure": scores.v_measure,
        "rand_index": scores.rand_index,
        "clusters": float(scores.clusters),
    }


def linear_probe(features: FloatArray, truth: NDArray[np.int64], share: float, seed: int) -> float:
    """Return how often a logistic regression on the features is right on boxes that it has not seen.

    Parameters
    ----------
    features
        (n, d).
    truth
        (n,) class numbers.
    share
        Part of the training boxes whose labels it learns from, 0 to 1; the same part of every class.
    seed
        Of the division into training and test.
    """
    rng = np.random.default_rng(seed)
    training, test = [], []
    for number in np.unique(truth):
        members = rng.permutation(np.flatnonzero(truth == number))
        held_out = max(1, round(TEST_SHARE * len(members)))
        test.append(members[:held_out])
        training.append(members[held_out : held_out + max(1, round(share * (len(members) - held_out)))])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    chosen, unseen = np.concatenate(training), np.concatenate(test)
    return float(probe.fit(features[chosen], truth[chosen]).score(features[unseen], truth[unseen]))
