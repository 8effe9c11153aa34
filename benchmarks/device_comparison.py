"""Comparison of the results of two devices, stage by stage, with tolerances."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryopipe.averaging import AveragingOptions, align_cluster
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.mixtures.gaussian import choose_mixture
from cryopipe.mixtures.label_matching import agreement
from cryopipe.picking import PickOptions, pick_particles
from cryopipe.pretraining.recipe import ClassSet, Recipe, Stage
from cryopipe.pretraining.run import PretrainingRun
from cryopipe.simulation.box_simulator import BoxOptions, BoxSimulator
from cryopipe.simulation.options import SimulationOptions
from cryopipe.simulation.phantoms import Phantom, stock_phantoms
from cryopipe.simulation.tomogram import simulate_tomogram
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms

logger = logging.getLogger(__name__)
VOXEL_SIZE, RESOLUTION, LARGEST_RADIUS = 13.33, 30.0, 110.0
"""Angstrom."""
TILTS = (-60.0, 60.0)
SEED = 1
LEARNING_RATE = 1e-4
"""Small enough that two trainings with different rounding stay similar for a few steps."""


@dataclass(frozen=True)
class Side:
    """A device and its number of threads; None keeps the present number."""

    device: torch.device
    threads: int | None = None

    @contextmanager
    def computing(self) -> Iterator[torch.device]:
        """Use this number of threads while the block runs."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield self.device
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Extent:
    """Sizes of the compared computations.

    Attributes
    ----------
    classes, boxes_per_class, box_size
        Of simulated boxes.
    tomogram
        Voxels x, y, z.
    copies
        Particles of each class in the tomogram.
    steps
        Steps of training.
    points
        Points of the mixtures.
    aligned
        Averaged boxes.
    averaging
        Options of averaging.
    """

    classes: int = 5
    boxes_per_class: int = 100
    box_size: int = 24
    tomogram: tuple[int, int, int] = (256, 256, 96)
    copies: int = 30
    steps: int = 20
    points: int = 20_000
    aligned: int = 120
    averaging: AveragingOptions = field(default_factory=AveragingOptions)


FULL = Extent()
REHEARSAL = Extent(
    classes=2, boxes_per_class=16, tomogram=(96, 96, 48), copies=3, steps=2, points=400, aligned=12,
    averaging=AveragingOptions(initial_models=1, initial_iterations=2, refinement_iterations=1),
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A difference between results (0 if equal) and its tolerance."""

    quantity: str
    value: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the value is within the tolerance; False for NaN."""
        return bool(self.value <= self.tolerance)


Comparison = Callable[[Side, Side, Extent], list[Difference]]


def compare_devices(
    first: Side, second: Side, extent: Extent, report: Callable[[pd.DataFrame], None]
) -> pd.DataFrame:
    """Run every stage on both devices.

    Parameters
    ----------
    first, second
        The reference and the device compared with it.
    extent
        Sizes of the computations.
    report
        Called with the table after every stage.

    Returns
    -------
    One row per quantity: stage, quantity, difference, tolerance, passed, error ("" if the stage succeeded).
    """
    rows: list[dict[str, object]] = []
    for name, stage in STAGES.items():
        try:
            for one in stage(first, second, extent):
                rows.append({"stage": name, "quantity": one.quantity, "difference": one.value,
                             "tolerance": one.tolerance, "passed": one.passed, "error": ""})  # fmt: skip
        except Exception as error:  # run the other stages as well
            logger.error("%s", traceback.format_exc())
            rows.append({"stage": name, "quantity": "", "difference": float("nan"), "tolerance": float("nan"),
                         "passed": False, "error": f"{type(error).__name__}: {error}"})  # fmt: skip
        report(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def relative_difference(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the root mean square difference divided by the standard deviation of the reference."""
    return float(np.sqrt(np.mean((other - reference) ** 2)) / reference.std())


def unmatched_fraction(first: NDArray[np.float64], second: NDArray[np.float64], radius: float) -> float:
    """Return the larger of the two fractions of points (n, 3) without a point of the other set within `radius`."""
    if not len(first) or not len(second):
        return float(len(first) != len(second))
    fractions = [np.mean(cKDTree(b).query(a)[0] > radius) for a, b in ((first, second), (second, first))]
    return float(max(fractions))


def pose_difference(first: Rotation, second: Rotation) -> float:
    """Return the median angle in degrees between two sets of rotations from average to particle, after superposition.

    The averages are superposed by the rotation between the poses of one particle: that with the smallest median
    angle to those of the others.
    """
    between = first.inv() * second
    matrices = between.as_matrix()
    traces = np.einsum("iab,jab->ij", matrices, matrices)
    angles = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
    return float(np.median(angles, axis=1).min())


def _phantoms(extent: Extent) -> list[Phantom]:
    return stock_phantoms(extent.classes, VOXEL_SIZE, RESOLUTION, 3000, LARGEST_RADIUS)


def _options(extent: Extent, snr: float = 1.0) -> BoxOptions:
    return BoxOptions(
        box_size=extent.box_size, snr=(snr, snr), displacement=10.0, crowding=0.0, defocus=(4.0, 4.0)
    )


def _boxes(side: Side, extent: Extent) -> tuple[torch.Tensor, torch.Tensor]:
    """Simulate boxes with noise on one device; return boxes and labels."""
    labels = torch.arange(extent.classes).repeat_interleave(extent.boxes_per_class)
    with side.computing() as device:
        made = BoxSimulator(_phantoms(extent), _options(extent), device, SEED).sample(labels)
    return made.boxes.cpu(), labels


def compare_simulation(first: Side, second: Side, extent: Extent) -> list[Difference]:
    """Simulate the same particles in the same poses without noise."""
    labels = torch.arange(extent.classes).repeat_interleave(extent.boxes_per_class)
    with first.computing() as device:
        poses = BoxSimulator(_phantoms(extent), _options(extent), device, SEED).sample(labels)
    made = []
    for side in (first, second):
        with side.computing() as device:
            simulator = BoxSimulator(_phantoms(extent), _options(extent), device, SEED)
            arguments = (poses.labels.to(device), poses.rotations.to(device), poses.shifts.to(device))
            made.append(simulator.noise_free(*arguments).cpu().numpy())
    return [Difference("boxes, relative RMS", relative_difference(*made), 1e-3)]


def compare_picking(first: Side, second: Side, extent: Extent) -> list[Difference]:
    """Pick in one simulated tomogram and cut boxes around the same picks."""
    options = SimulationOptions(
        size=extent.tomogram, voxel_size=VOXEL_SIZE, resolution=RESOLUTION, copies=extent.copies,
        vesicles=0, snr=1.0,
    )  # fmt: skip
    with first.computing() as device:
        made = simulate_tomogram(options, SEED, "compared", device, _phantoms(extent))
    picked, cut = [], []
    for side in (first, second):
        with side.computing() as device:
            found = pick_particles(
                made.volume, VOXEL_SIZE, PickOptions(diameters=(200.0,)), "dark", device=device
            )
        picked.append(found.coordinates)
    for side in (first, second):
        with side.computing() as device:
            parts = extract_subtomograms(
                made.volume, picked[0], VOXEL_SIZE, SubtomogramOptions(extent.box_size, VOXEL_SIZE, "drop"),
                "dark", np.random.default_rng(SEED), device=device,
            )  # fmt: skip
            cut.append(np.concatenate([boxes for _, boxes in parts]))
    return [
        Difference("no picks", float(not len(picked[0])), 0.0),
        Difference(
            "fraction of picks without a match within one voxel",
            unmatched_fraction(picked[0], picked[1], 1.0),
            0.02,
        ),
        Difference("subtomograms, relative RMS", relative_difference(*cut), 1e-3),
    ]


def compare_embedding(first: Side, second: Side, extent: Extent) -> list[Difference]:
    """Embed the same boxes with the shipped encoder."""
    boxes, _ = _boxes(first, extent)
    features = []
    for side in (first, second):
        with side.computing() as device:
            learner = create_learner("transfer", FeatureOptions(), device, SEED)
            features.append(learner.embed(boxes.numpy()))
    distances = 1 - np.sum(features[0] * features[1], axis=1)
    return [
        Difference("features, mean of 1 - cosine", float(distances.mean()), 2e-3),
        Difference("features, largest 1 - cosine", float(distances.max()), 2e-2),
    ]


def compare_training(first: Side, second: Side, extent: Extent) -> list[Difference]:
    """Train the encoder from the same weights on the same batches."""
    boxes, labels = _boxes(first, extent)
    order = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(SEED))
    batches = order[: extent.steps * (len(order) // extent.steps)].chunk(extent.steps)
    stage = Stage(boxes=1, learning_rate=(1e-3, 1e-3))
    recipe = Recipe((ClassSet(VOXEL_SIZE, RESOLUTION, extent.classes, 3000, LARGEST_RADIUS),), (stage,))
    losses, gradients = [], []
    initial = PretrainingRun(recipe, [_phantoms(extent)], torch.device("cpu"), SEED)
    for side in (first, second):
        with side.computing() as device:
            run = PretrainingRun(recipe, [_phantoms(extent)], device, SEED)
            run.encoder.load_state_dict(initial.encoder.state_dict())
            with torch.no_grad():
                run.directions.copy_(initial.directions)
            for group in run.optimiser.param_groups:
                group["lr"] = LEARNING_RATE
            figures = []
            for chosen in batches:
                figures.append(run.train_step(boxes[chosen].to(device), labels[chosen].to(device))[0])
                if len(figures) == 1:
                    parts = [p.grad.flatten() for p in run.encoder.parameters() if p.grad is not None]
                    gradients.append(torch.cat(parts).double().cpu())
            losses.append(figures)
    reference, other = np.array(losses)
    relative = np.abs(other - reference) / reference
    cosine = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0)
    return [
        Difference("loss of the first step, relative", float(relative[0]), 0.02),
        Difference("gradient of the first step, 1 - cosine", 1 - float(cosine), 0.05),
        Difference("losses of all steps, mean relative", float(relative.mean()), 0.05),
    ]


def compare_mixtures(first: Side, second: Side, extent: Extent) -> list[Difference]:
    """Determine the number of clusters and the labels of the same points."""
    generator = torch.Generator().manual_seed(SEED)
    centres = 4 * torch.randn(6, 8, generator=generator)
    groups = torch.randint(6, (extent.points,), generator=generator)
    points = centres[groups] + torch.randn(extent.points, 8, generator=generator)
    counts, labels, likelihoods = [], [], []
    for side in (first, second):
        with side.computing() as device:
            there = points.to(device)
            mixture, _ = choose_mixture(there, range(4, 9), 3, torch.Generator().manual_seed(SEED))
            counts.append(mixture.count)
            labels.append(mixture.posteriors(there).argmax(dim=1).cpu().numpy())
            likelihoods.append(mixture.log_likelihood(there))
    return [
        Difference("number of clusters", abs(counts[1] - counts[0]), 0.0),
        Difference("fraction of labels that differ", 1 - agreement(labels[1], labels[0]), 1e-3),
        Difference("log-likelihood, relative", abs(likelihoods[1] / likelihoods[0] - 1), 1e-4),
    ]


def compare_averaging(first: Side, second: Side, extent: Extent) -> list[Difference]:
    """Align and average the same boxes of one class."""
    with first.computing() as device:
        simulator = BoxSimulator(_phantoms(extent)[:1], _options(extent), device, SEED)
        boxes = simulator.sample(torch.zeros(extent.aligned, dtype=torch.long)).boxes.cpu().numpy()
    ranges = np.tile(np.array(TILTS), (extent.aligned, 1))
    results = []
    for side in (first, second):
        with side.computing() as device:
            results.append(align_cluster(boxes, ranges, VOXEL_SIZE, extent.averaging, SEED, device))
    resolutions = [1 / one.resolution_05 for one in results]  # infinite resolutions become 0
    kept = results[0].kept & results[1].kept
    poses = pose_difference(results[0].rotations[kept], results[1].rotations[kept])
    return [
        Difference("poses, median angle in degrees", poses, 5.0),
        Difference("resolution at FSC 0.5, relative", abs(resolutions[1] - resolutions[0]) / max(resolutions), 0.1)
        if max(resolutions)
        else Difference("resolution at FSC 0.5, relative", 0.0, 0.1),
    ]  # fmt: skip


STAGES: dict[str, Comparison] = {
    "simulation": compare_simulation,
    "picking": compare_picking,
    "embedding": compare_embedding,
    "training": compare_training,
    "mixtures": compare_mixtures,
    "averaging": compare_averaging,
}


def failures(table: pd.DataFrame) -> Sequence[str]:
    """Return the stages with a difference that did not pass."""
    return list(dict.fromkeys(table.loc[~table["passed"].astype(bool), "stage"]))
