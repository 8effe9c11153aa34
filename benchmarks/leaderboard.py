"""Comparison of learners on the same simulated boxes."""

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
TEST_FRACTION = 0.2
"""Fraction of the boxes on which a linear probe is tested."""


@dataclass(frozen=True)
class Leaderboard:
    """Results of a benchmark.

    Attributes
    ----------
    runs
        One row per condition, learner and seed: scores, number of clusters found, seconds, memory_gb.
    classes
        Names of the classes, in the simulator's order.
    measured_snr
        By name of the condition; NaN without noise.
    size
        Name of the plan's size.
    maps
        Whether the classes are density maps instead of phantoms.
    boxes
        Number of boxes, and their edge in voxels.
    """

    runs: pd.DataFrame
    classes: list[str]
    measured_snr: dict[str, float]
    size: str
    maps: bool
    boxes: tuple[int, int]


def benchmark_phantoms(plan: BenchmarkPlan, templates: str | os.PathLike[str] | None) -> list[Phantom]:
    """Return the classes of a benchmark: density maps of a directory, or procedural phantoms.

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
    """Run every learner on the same boxes, for each SNR and seed.

    Parameters
    ----------
    plan, size_name
        The plan and the name of one of its sizes.
    learners
        Names of the plan's learners, or of cryopipe's.
    phantoms
        The classes.
    device
        Device of the computation.
    maps
        Whether the classes are density maps, which need the larger boxes.
    cut
        Boxes cut from simulated tomograms; the same for every seed.
    encoder
        File of weights to use in place of the shipped encoder.
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
    """Return the learner named `name` in a plan."""
    options = plan.feature_options(name, size, encoder)
    return create_learner(options.learner, options, device, seed)


def _run_learner(
    plan: BenchmarkPlan, name: str, learner: Learner, chosen: BoxSet, conditions: Sequence[Condition]
) -> list[dict[str, Any]]:
    """Fit one learner and score it under every condition that uses these boxes."""
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
    """Score clusters of the features, or a linear probe if the condition has a fraction of labels."""
    empty = dict.fromkeys(
        ("homogeneity", "completeness", "v_measure", "rand_index", "clusters"), float("nan")
    )
    if condition.labels is not None:
        return {"accuracy": linear_probe(features, truth, condition.labels, seed), **empty}
    # The published tables have no unassigned particles: assign every particle to a cluster.
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


def linear_probe(features: FloatArray, truth: NDArray[np.int64], fraction: float, seed: int) -> float:
    """Return the accuracy of a logistic regression on the features, on boxes held out from its training.

    Parameters
    ----------
    features
        (n, d).
    truth
        (n,) class numbers.
    fraction
        Fraction of the training boxes whose labels are used, 0 to 1; the same in every class.
    seed
        Random seed of the division into training and test boxes.
    """
    rng = np.random.default_rng(seed)
    training, test = [], []
    for number in np.unique(truth):
        members = rng.permutation(np.flatnonzero(truth == number))
        held_out = max(1, round(TEST_FRACTION * len(members)))
        test.append(members[:held_out])
        training.append(members[held_out : held_out + max(1, round(fraction * (len(members) - held_out)))])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    chosen, unseen = np.concatenate(training), np.concatenate(test)
    return float(probe.fit(features[chosen], truth[chosen]).score(features[unseen], truth[unseen]))
