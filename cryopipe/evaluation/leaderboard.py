"""Learners side by side on the same simulated boxes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.errors import ConfigError
from cryopipe.evaluation.benchmark_plan import BenchmarkPlan, Condition, Size
from cryopipe.evaluation.clustering import score_clusters
from cryopipe.evaluation.hardware import peak_memory
from cryopipe.features import create_learner
from cryopipe.progress import Progress
from cryopipe.simulation.boxes import BoxOptions, BoxSimulator, SimulatedBoxes
from cryopipe.simulation.maps import read_map
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]
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
    """

    runs: pd.DataFrame
    classes: list[str]
    measured_snr: dict[str, float]


def benchmark_phantoms(plan: BenchmarkPlan, templates: Path | None) -> list[Phantom]:
    """Return the benchmark's classes: maps of a directory that stand in, or procedural phantoms.

    Raises
    ------
    ConfigError
        If a map is missing.
    """
    voxel_size, resolution = float(plan.boxes["voxel_size"]), float(plan.boxes["resolution"])
    classes = plan.classes
    if templates is None:
        return stock_phantoms(
            classes.count, voxel_size, resolution, classes.first_seed, classes.largest_radius
        )
    paths = [templates / f"{name}.mrc" for name in classes.templates]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(
            f"{templates} lacks {', '.join(missing)}",
            remedy="add these maps or leave benchmarks.templates empty for procedural phantoms",
        )
    return [read_map(path, voxel_size, resolution) for path in paths]


def run_benchmark(
    plan: BenchmarkPlan,
    size: Size,
    learners: Sequence[str],
    phantoms: Sequence[Phantom],
    device: torch.device,
    templates: bool = False,
) -> Leaderboard:
    """Run every learner on the same boxes, for every SNR and seed.

    Parameters
    ----------
    plan, size
        What to run and how much of it.
    learners
        Names in the plan's table of learners, or the pipeline's own names.
    phantoms
        The classes.
    device
        Where to compute.
    templates
        Whether the classes are maps and need the larger boxes.
    """
    wanted = plan.conditions_at(size)
    levels = list(dict.fromkeys(condition.snr for condition in wanted))
    counter = Progress(len(levels) * len(size.seeds) * len(learners), "runs", plan.name, interval=0.0)
    rows: list[dict[str, Any]] = []
    measured: dict[float, float] = {}
    for snr in levels:
        conditions = [condition for condition in wanted if condition.snr == snr]
        options = plan.box_options(size, snr, templates)
        measured[snr] = measure_snr(phantoms, options, device)
        for seed in size.seeds:
            simulator = BoxSimulator(phantoms, options, device, seed)
            labels = torch.arange(len(phantoms) + plan.classes.empty).repeat_interleave(size.boxes_per_class)
            made = simulator.sample(labels)
            boxes, truth = made.boxes.cpu().numpy(), labels.numpy()
            del made, simulator
            for learner in learners:
                rows += _run_learner(plan, size, learner, seed, boxes, truth, conditions, device)
                counter.advance()
    names = [phantom.name for phantom in phantoms] + ["no particle"] * plan.classes.empty
    snrs = {condition.name: measured[condition.snr] for condition in wanted}
    return Leaderboard(pd.DataFrame(rows), names, snrs)


def _run_learner(
    plan: BenchmarkPlan,
    size: Size,
    name: str,
    seed: int,
    boxes: FloatArray,
    truth: NDArray[np.int64],
    conditions: Sequence[Condition],
    device: torch.device,
) -> list[dict[str, Any]]:
    """Fit one learner once and score it under every condition that shares these boxes."""
    options = plan.feature_options(name, size)
    started = time.monotonic()
    with peak_memory(device) as peak:
        learner = create_learner(options.learner, options, device, seed)
        learner.fit(boxes)
        features = learner.embed(boxes)
    learned = time.monotonic() - started
    rows = []
    for condition in conditions:
        started = time.monotonic()
        scores = _score(features, truth, condition, plan.clusters, seed)
        seconds = learned + time.monotonic() - started
        row = {"condition": condition.name, "learner": name, "seed": seed, **scores}
        rows.append({**row, "seconds": seconds, "memory_gb": peak.gigabytes})
        shown = ", ".join(f"{key} {value:.3g}" for key, value in scores.items() if np.isfinite(value))
        logger.info("%s, %s, seed %d: %s", condition.name, name, seed, shown)
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
    options = ClusteringOptions(clusters=clusters, minimum_posterior=0.0, outlier_probability=0.0)
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


def measure_snr(
    phantoms: Sequence[Phantom], options: BoxOptions, device: torch.device, count: int = 64
) -> float:
    """Measure the SNR of boxes as they come out: signal variance over noise variance in the particle's sphere.

    Lone particles at the middle of the defocus range are imaged with and without noise. Inside the sphere a
    noisy box is a multiple of the clean one and noise; a least-squares fit divides the two. Amplitudes are
    averaged with their signs before they are squared, since the square of one box's has the noise in it.

    Returns
    -------
    NaN where there is no noise.
    """
    if not np.isfinite(options.snr[0]):
        return float("nan")
    middle = sum(options.defocus) / 2
    simulator = BoxSimulator(
        phantoms, replace(options, defocus=(middle, middle), crowding=0.0), device, seed=0
    )
    noisy = simulator.sample(torch.arange(count) % len(phantoms))
    clean = simulator.noise_free(noisy.labels, noisy.rotations, noisy.shifts)
    return float(np.mean([_amplitude(simulator, noisy, clean, index) for index in range(count)])) ** 2


def _amplitude(simulator: BoxSimulator, noisy: SimulatedBoxes, clean: torch.Tensor, index: int) -> float:
    """Return the signal's standard deviation over the noise's in one box."""
    box = simulator.options.box_size
    axes = [torch.arange(box, device=simulator.device) - box // 2] * 3
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1) * simulator.voxel_size
    radius = simulator.classes[int(noisy.labels[index])].radius
    inside = (grid - noisy.shifts[index]).norm(dim=-1) <= radius
    signal, values = clean[index][inside], noisy.boxes[index][inside]
    signal, values = signal - signal.mean(), values - values.mean()
    factor = (signal @ values) / (signal @ signal)
    return float(factor * signal.std() / (values - factor * signal).std())
