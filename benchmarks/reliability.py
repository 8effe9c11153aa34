"""What posteriors and the noise class are worth, on boxes whose truth is known."""

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
from cryopipe.columns import NOISE_CLASS
from cryopipe.features import Learner
from cryopipe.simulation.box_simulator import BoxOptions
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

logger = logging.getLogger(__name__)
EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Borders of the bins of posteriors."""
THRESHOLD = 0.9
ESTIMATED, GIVEN = "estimated", "given"


@dataclass(frozen=True)
class PosteriorOptions:
    """On what posteriors and the noise class are measured.

    Attributes
    ----------
    classes, first_seed, largest_radius
        The procedural phantoms: their number, where their series begins, and angstrom.
    voxel_size, resolution, displacement
        Angstrom.
    box_size
        Voxels.
    snrs
        One set each, see `BoxOptions`.
    boxes_per_class, empty_boxes
        Boxes of every class, and boxes without a particle.
    seeds
        Of boxes and clustering.
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
        """Return the classes."""
        return stock_phantoms(
            self.classes, self.voxel_size, self.resolution, self.first_seed, self.largest_radius
        )


SIZES = {"reduced": PosteriorOptions(), "full": PosteriorOptions(boxes_per_class=1000, empty_boxes=2500)}


@dataclass(frozen=True)
class PosteriorRuns:
    """Figures per set of boxes.

    Attributes
    ----------
    noise
        One row per set and seed: snr, contents, seed, clusters, empty_in_noise, empty_apart, empty_astray,
        particles_in_noise, particles_lost; see `noise_rates`.
    reliability
        One row per set, seed, and bin: snr, number ("given" or "estimated"), seed, calibrated, low, high,
        count, right, posterior (mean).
    """

    noise: pd.DataFrame
    reliability: pd.DataFrame


def measure_posteriors(
    options: PosteriorOptions, learner: Learner, device: torch.device, clustering: ClusteringOptions
) -> PosteriorRuns:
    """Cluster simulated boxes with and without particles, and compare with the truth.

    Parameters
    ----------
    options
        The boxes.
    learner
        Fitted, or one that needs no fit.
    device
        Where to compute.
    clustering
        As in a run; where the number of clusters is given, it replaces the range.
    """
    phantoms = options.phantoms()
    particles = torch.arange(options.classes).repeat_interleave(options.boxes_per_class)
    empty = torch.full((options.empty_boxes,), options.classes)
    noise, reliability = [], []
    for snr in options.snrs:
        imaging = BoxOptions(
            box_size=options.box_size, snr=(snr, snr), displacement=options.displacement, crowding=0.0
        )
        for seed in options.seeds:
            made = simulate_set(phantoms, imaging, torch.cat([particles, empty]), device, seed)
            features, without = learner.embed(made.boxes), made.truth == options.classes
            contents = {
                "particles and empty boxes": np.ones_like(without),
                "particles alone": ~without,
                "empty boxes alone": without,
            }
            for name, chosen in contents.items():
                found = find_clusters(features[chosen], clustering, seed)
                rates = noise_rates(without[chosen], found.labels)
                noise.append({"snr": snr, "contents": name, "seed": seed, **rates})
                logger.info("SNR %g, seed %d, %s: %s", snr, seed, name, rates)
            for number, count in ((ESTIMATED, None), (GIVEN, options.classes)):
                reliability += _reliability(
                    features[~without], made.truth[~without], clustering, count, seed,
                    {"snr": snr, "number": number, "seed": seed},
                )  # fmt: skip
    return PosteriorRuns(pd.DataFrame(noise), pd.DataFrame(reliability))


def noise_rates(empty: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Return where boxes without a particle went, and how many particles are lost to the noise class.

    Parameters
    ----------
    empty
        (n,) True for boxes without a particle.
    labels
        (n,) cluster numbers, `NOISE_CLASS` for noise.

    Returns
    -------
    clusters
        Number of clusters.
    empty_in_noise, empty_apart, empty_astray
        Shares of the empty boxes: in the noise class; in clusters that hold mostly empty boxes; and in clusters
        of particles. NaN without empty boxes.
    particles_in_noise, particles_lost
        Shares of the particles: in the noise class, and in clusters that hold mostly empty boxes. NaN without
        particles.
    """
    empty, labels = np.asarray(empty, bool), np.asarray(labels, int)
    noise = labels == NOISE_CLASS
    apart = np.zeros(len(labels), bool)
    for number in np.unique(labels[~noise]):
        members = labels == number
        apart |= members & bool(np.mean(empty[members]) > 0.5)
    nan = float("nan")
    return {
        "clusters": float(len(np.unique(labels[~noise]))),
        "empty_in_noise": float(np.mean(noise[empty])) if empty.any() else nan,
        "empty_apart": float(np.mean(apart[empty])) if empty.any() else nan,
        "empty_astray": float(np.mean(~noise[empty] & ~apart[empty])) if empty.any() else nan,
        "particles_in_noise": float(np.mean(noise[~empty])) if not empty.all() else nan,
        "particles_lost": float(np.mean(apart[~empty])) if not empty.all() else nan,
    }


def is_right(truth: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Say which particles (n,) are of the class that most members of their cluster have."""
    truth, labels = np.asarray(truth, int), np.asarray(labels, int)
    right = np.zeros(len(truth), bool)
    for number in np.unique(labels):
        members = labels == number
        right[members] = truth[members] == np.bincount(truth[members]).argmax()
    return right


def reliability_bins(posteriors: ArrayLike, right: ArrayLike) -> pd.DataFrame:
    """Return one row per bin that holds a particle: low, high, count, right (share), posterior (mean)."""
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
    """Return the expected calibration error: the bins' gaps between posterior and share right, weighted by count."""
    return float(np.average((bins["right"] - bins["posterior"]).abs(), weights=bins["count"]))


def precision(bins: pd.DataFrame, threshold: float = THRESHOLD) -> float:
    """Return the share that is right of the particles with posteriors from `threshold` on, a bin's border; or NaN."""
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
    """Return the bins of one set of particles, before and after calibration."""
    considered = clustering.clusters if count is None else (count, count)
    options = replace(clustering, clusters=considered, minimum_posterior=0.0, outlier_probability=0.0)
    found = find_clusters(features, options, seed)
    right = is_right(truth, found.labels)
    rows = []
    for calibrated, values in ((False, found.uncalibrated), (True, found.posteriors)):
        bins = reliability_bins(values, right)
        rows += [{**names, "calibrated": calibrated, **row} for row in bins.to_dict("records")]
    return rows
