"""affinity-VAE on classes that it was not trained on: one training, its scores, and the arrays of its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.boxes import ArrayBoxes
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.affinity_matrix import affinity_matrix
from cryopipe.features.latent_map import class_centres, interpolated, nearest_centre
from cryopipe.features.learners.affinity import AffinityLearner
from cryopipe.features.learners.affinity_options import AffinityOptions
from cryopipe.simulation.box_simulator import BoxOptions, BoxSimulator
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

SEEN, UNSEEN = 8, 2
"""Numbers of classes that are trained on, and that are not (published: the same)."""
FIRST_SEED = 500
TILT_RANGE = (-60.0, 60.0)
SNR = 0.1
ANGLES = np.arange(0.0, 360.0, 10.0)
STEPS = 7
"""Boxes of a path between two class centres."""


@dataclass(frozen=True)
class AffinitySize:
    """Amount of computation.

    Attributes
    ----------
    box_size, voxel_size, resolution
        Voxels and angstrom.
    training, test
        Boxes per class to train on, and others to score.
    options
        Options of the learner, without beta and gamma.
    """

    box_size: int
    voxel_size: float
    resolution: float
    training: int
    test: int
    options: AffinityOptions


SIZES = {
    "reduced": AffinitySize(
        24, 13.33, 30.0, 200, 200, AffinityOptions(channels=8, epochs=20, batch_size=64, learning_rate=2e-3)
    ),
    "full": AffinitySize(32, 13.33, 30.0, 2000, 400, AffinityOptions(channels=64, epochs=40)),
}


def affinity_run(
    size: AffinitySize,
    affinity: NDArray[np.float32],
    beta: float,
    gamma: float,
    seed: int,
    device: torch.device,
) -> dict[str, NDArray]:
    """Train on eight classes, place boxes of ten, and return scores and arrays of the figures.

    `affinity` is that of `trained_affinities`. The boxes of a seed are the same for all beta and gamma. Half of the test boxes give the centres of all ten classes in
    the latent space; each of the others belongs to the class of the nearest centre.

    Returns
    -------
    latents (n, d), truth (n,), accuracy_seen, accuracy_unseen (of the boxes that gave no centre), seconds, classes
    (10,), decoded (STEPS, z, y, x) of boxes between the centres of the first two classes, angles,
    and poses (k, len(angles), pose_width) of three classes rotated about z, without noise.
    """
    simulator, training, labels, test, truth = _simulated(size, seed, device)
    started = time.monotonic()
    own = replace(size.options, beta=beta, gamma=gamma)
    learner = create_learner("affinity", FeatureOptions(learner="affinity", affinity=own), device, seed)
    assert isinstance(learner, AffinityLearner)
    learner.affinity = affinity
    learner.fit(training, labels)
    seconds = time.monotonic() - started
    latents = learner.embed(test)
    seen, unseen = placement_accuracies(latents, truth)
    ends = class_centres(latents, truth)[:2]
    return {
        "latents": latents,
        "truth": truth,
        "accuracy_seen": np.array(seen),
        "accuracy_unseen": np.array(unseen),
        "seconds": np.array(seconds),
        "classes": np.array([phantom.name for phantom in simulator.classes]),
        "decoded": learner.decode(interpolated(ends[0], ends[1], STEPS)),
        "angles": ANGLES,
        "poses": np.stack([learner.poses(_rotated(simulator, number)) for number in range(3)]),
    }


def placement_accuracies(latents: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Return the accuracies by the nearest of all centres: of the classes trained on, and of the others.

    The first half of the boxes gives the centres, the second is scored.
    """
    half = len(truth) // 2
    centres = class_centres(latents[:half], truth[:half])
    right = nearest_centre(latents[half:], centres) == truth[half:]
    trained = truth[half:] < SEEN
    return float(right[trained].mean()), float(right[~trained].mean())


def _rotated(simulator: BoxSimulator, number: int) -> NDArray[np.float32]:
    """Return boxes of one class rotated by `ANGLES` about z, without noise, standardised."""
    matrices = Rotation.from_euler("z", ANGLES[:, None], degrees=True).as_matrix().astype(np.float32)
    labels = torch.full((len(ANGLES),), number, device=simulator.device)
    boxes = simulator.noise_free(
        labels, torch.from_numpy(matrices).to(simulator.device), torch.zeros(len(ANGLES), 3).to(labels.device)
    )
    boxes = boxes - boxes.mean(dim=(1, 2, 3), keepdim=True)
    return (boxes / boxes.std(dim=(1, 2, 3), keepdim=True)).cpu().numpy()


class _Simulated(NamedTuple):
    """The simulator, and boxes and classes to train on and to test."""

    simulator: BoxSimulator
    training: ArrayBoxes
    labels: NDArray[np.int64]
    test: NDArray[np.float32]
    truth: NDArray[np.int64]


@lru_cache(maxsize=1)
def _simulated(size: AffinitySize, seed: int, device: torch.device) -> _Simulated:
    options = BoxOptions(
        box_size=size.box_size,
        snr=(SNR, SNR),
        tilt_range=TILT_RANGE,
        displacement=0.5 * size.voxel_size,
    )
    simulator = BoxSimulator(_phantoms(size), options, device, seed)
    labels = torch.arange(SEEN).repeat_interleave(size.training)
    training = ArrayBoxes(simulator.sample(labels).boxes.cpu().numpy(), TILT_RANGE, size.voxel_size)
    truth = np.tile(np.arange(SEEN + UNSEEN), size.test)
    test = simulator.sample(torch.from_numpy(truth)).boxes.cpu().numpy()
    return _Simulated(simulator, training, labels.numpy(), test, truth)


@cache
def _phantoms(size: AffinitySize) -> tuple[Phantom, ...]:
    largest = (size.box_size / 2 - 1) * size.voxel_size
    return tuple(stock_phantoms(SEEN + UNSEEN, size.voxel_size, size.resolution, FIRST_SEED, largest))


def trained_affinities(size: AffinitySize) -> tuple[list[str], NDArray[np.float32]]:
    """Return the names of the structures that are trained on, and their affinities (8, 8)."""
    trained = _phantoms(size)[:SEEN]
    return [phantom.name for phantom in trained], affinity_matrix(trained)
