"""Accuracy of posteriors and of unassigned particles on simulated boxes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from benchmarks.box_sets import FloatArray, simulate_set
from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.columns import UNASSIGNED
from cryopipe.features import Learner
from cryopipe.simulation.box_simulator import BoxOptions
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

logger = logging.getLogger(__name__)
EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Edges of the posterior bins."""
THRESHOLD = 0.9
ESTIMATED, GIVEN = "estimated", "given"


@dataclass(frozen=True)
class PosteriorOptions:
    """Simulated boxes for measuring posteriors and unassigned particles.

    Attributes
    ----------
    classes, first_seed, largest_radius
        The procedural phantoms: number, seed of the first one, and largest radius in angstrom.
    voxel_size, resolution, displacement
        Angstrom.
    box_size
        Voxels.
    snrs
        One set of boxes per SNR; see `BoxOptions`.
    boxes_per_class, empty_boxes
        Number of boxes per class, and of boxes without a particle.
    seeds
        Random seeds of boxes and clustering.
    """

    classes: int = 5
    first_seed: int = 80
    largest_radius: float = 140.0
    voxel_size: float = 13.33
    resolution: float = 30.0
    displacement: float = 7.0
    box_size: int = 24
    snrs: Sequence[float] = (0.3, 0.1)
    boxes_per_class: int = 120
    empty_boxes: int = 300
    seeds: Sequence[int] = (1, 2, 3)

    def phantoms(self) -> list[Phantom]:
        """Return the phantoms of the classes."""
        return stock_phantoms(
            self.classes, self.voxel_size, self.resolution, self.first_seed, self.largest_radius
        )


SIZES = {"reduced": PosteriorOptions(), "full": PosteriorOptions(boxes_per_class=1000, empty_boxes=2500)}


@dataclass(frozen=True)
class PosteriorRuns:
    """Results per set of boxes.

    Attributes
    ----------
    assignment
        One row per set and seed: snr, contents, seed, and the rates of `assignment_rates`.
    reliability
        One row per set, seed and bin: snr, number ("given" or "estimated"), seed, calibrated, low, high,
        count, right, posterior (mean).
    """

    assignment: pd.DataFrame
    reliability: pd.DataFrame


def measure_posteriors(
    options: PosteriorOptions, learner: Learner, device: torch.device, clustering: ClusteringOptions
) -> PosteriorRuns:
    """Cluster simulated boxes with and without particles and compare with the truth.

    Parameters
    ----------
    options
        Simulation of the boxes.
    learner
        Fitted, or in no need of fitting.
    device
        Device of the computation.
    clustering
        As in a run; a given number of clusters replaces the range.
    """
    phantoms = options.phantoms()
    particles = torch.arange(options.classes).repeat_interleave(options.boxes_per_class)
    empty = torch.full((options.empty_boxes,), options.classes)
    assignment, reliability = [], []
    for snr in options.snrs:
        imaging = BoxOptions(
            box_size=options.box_size, snr=(snr, snr), displacement=options.displacement, crowding=0.0
        )
        for seed in options.seeds:
            made = simulate_set(phantoms, imaging, torch.cat([particles, empty]), device, seed)
            features, without = learner.embed(made.boxes), made.truth == options.classes
            contents = {
                "particles and empty boxes": np.ones_like(without),
                "particles only": ~without,
                "empty boxes only": without,
            }
            for name, chosen in contents.items():
                found = find_clusters(features[chosen], clustering, seed)
                rates = assignment_rates(without[chosen], found.labels)
                assignment.append({"snr": snr, "contents": name, "seed": seed, **rates})
                logger.info("SNR %g, seed %d, %s: %s", snr, seed, name, rates)
            for number, count in ((ESTIMATED, None), (GIVEN, options.classes)):
                reliability += _reliability(
                    features[~without], made.truth[~without], clustering, count, seed,
                    {"snr": snr, "number": number, "seed": seed},
                )  # fmt: skip
    return PosteriorRuns(pd.DataFrame(assignment), pd.DataFrame(reliability))


def assignment_rates(empty: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Return how empty boxes and particles are divided between clusters and unassigned particles.

    Parameters
    ----------
    empty
        (n,) True for boxes without a particle.
    labels
        (n,) cluster numbers, `UNASSIGNED` for unassigned particles.

    Returns
    -------
    clusters
        Number of clusters.
    empty_unassigned, empty_in_own_clusters, empty_among_particles
        Fractions of the empty boxes: unassigned; in clusters of mostly empty boxes; in clusters of particles.
        NaN without empty boxes.
    particles_unassigned, particles_among_empty
        Fractions of the particles: unassigned; in clusters of mostly empty boxes. NaN without particles.
    """
    empty, labels = np.asarray(empty, bool), np.asarray(labels, int)
    unassigned = labels == UNASSIGNED
    mostly_empty = np.zeros(len(labels), bool)
    for number in np.unique(labels[~unassigned]):
        members = labels == number
        mostly_empty |= members & bool(np.mean(empty[members]) > 0.5)
    nan = float("nan")
    return {
        "clusters": float(len(np.unique(labels[~unassigned]))),
        "empty_unassigned": float(np.mean(unassigned[empty])) if empty.any() else nan,
        "empty_in_own_clusters": float(np.mean(mostly_empty[empty])) if empty.any() else nan,
        "empty_among_particles": float(np.mean(~unassigned[empty] & ~mostly_empty[empty]))
        if empty.any()
        else nan,
        "particles_unassigned": float(np.mean(unassigned[~empty])) if not empty.all() else nan,
        "particles_among_empty": float(np.mean(mostly_empty[~empty])) if not empty.all() else nan,
    }


def is_right(truth: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Return whether each particle (n,) belongs to the majority class of its cluster."""
    truth, labels = np.asarray(truth, int), np.asarray(labels, int)
    right = np.zeros(len(truth), bool)
    for number in np.unique(labels):
        members = labels == number
        right[members] = truth[members] == np.bincount(truth[members]).argmax()
    return right


def reliability_bins(posteriors: ArrayLike, right: ArrayLike) -> pd.DataFrame:
    """Return one row per non-empty bin: low, high, count, right (fraction), posterior (mean)."""
    values, correct = np.asarray(posteriors, float), np.asarray(right, bool)
    bins = np.clip(np.searchsorted(EDGES, values, side="right") - 1, 0, len(EDGES) - 2)
    rows = [
        {
            "low": EDGES[number],
            "high": EDGES[number + 1],
            "count": int(np.sum(bins == number)),
            "right": float(correct[bins == number].mean()),
            "posterior": float(values[bins == number].mean()),
        }
        for number in np.unique(bins)
    ]
    return pd.DataFrame(rows, columns=["low", "high", "count", "right", "posterior"])


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error: mean difference of posterior and right fraction, weighted by count."""
    return float(np.average((bins["right"] - bins["posterior"]).abs(), weights=bins["count"]))


def precision(bins: pd.DataFrame, threshold: float = THRESHOLD) -> float:
    """Return the right fraction of particles with posteriors of at least `threshold` (a bin edge); NaN for none."""
    chosen = bins[bins["low"] >= threshold]
    return float(np.average(chosen["right"], weights=chosen["count"])) if len(chosen) else float("nan")


def _reliability(
    features: FloatArray,
    truth: NDArray[np.int64],
    clustering: ClusteringOptions,
    count: int | None,
    seed: int,
    names: dict[str, object],
) -> list[dict[str, object]]:
    """Return the bins of one set of particles before and after calibration."""
    considered = clustering.clusters if count is None else (count, count)
    options = replace(clustering, clusters=considered, minimum_posterior=0.0, outlier_probability=0.0)
    found = find_clusters(features, options, seed)
    right = is_right(truth, found.labels)
    rows = []
    for calibrated, values in ((False, found.uncalibrated), (True, found.posteriors)):
        bins = reliability_bins(values, right)
        rows += [{**names, "calibrated": calibrated, **row} for row in bins.to_dict("records")]
    return rows
