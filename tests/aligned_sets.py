"""Sets of boxes with known poses: rotated asymmetric maps in noise, behind a missing wedge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.volume.geometry import angular_distance, random_rotations, symmetry_rotations
from cryopipe.volume.wedge import wedge_mask

CHAIN = np.array(
    [
        [6.0, -1.0, 0.0],
        [3.0, 1.0, -0.5],
        [0.0, -0.5, 0.5],
        [-3.0, 0.5, 0.0],
        [-4.0, 3.5, 1.0],
        [-3.0, 4.0, 4.5],
        [1.0, -4.5, 0.0],
    ]
)
"""Balls of a bent, handed chain, x, y, z, voxels of a box of 24; unlike a ball of balls it has no near symmetry."""
WEIGHTS = np.array([1.0, 0.8, 1.0, 0.9, 1.0, 1.1, 0.7])


@dataclass
class BoxSet:
    boxes: NDArray[np.float32]
    tilt_ranges: NDArray[np.float64]
    rotations: Rotation
    shifts: NDArray[np.float64]
    truth: torch.Tensor


def chain_map(
    box_size: int, rotation: Rotation | None = None, shift_voxels: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Draw the chain, rotated and then shifted; nothing is interpolated."""
    centres = CHAIN * (box_size / 24)
    centres = centres if rotation is None else rotation.apply(centres)
    centres = centres if shift_voxels is None else centres + shift_voxels
    axis = np.arange(box_size) - box_size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((box_size,) * 3)
    for (cx, cy, cz), weight in zip(centres, WEIGHTS, strict=True):
        volume += weight * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * 1.5**2))
    return volume


def box_set(
    count: int,
    box_size: int = 20,
    noise: float = 0.3,
    seed: int = 0,
    tilt_range: tuple[float, float] = (-60.0, 60.0),
    largest_shift: float = 1.2,
    symmetry: str = "C1",
) -> BoxSet:
    """Make boxes; `noise` is a standard deviation, where the map's maximum is about 1."""
    group = list(symmetry_rotations(symmetry))
    rng = np.random.default_rng(seed)
    rotations = random_rotations(count, rng)
    shifts = rng.uniform(-largest_shift, largest_shift, (count, 3))
    wedge = wedge_mask(box_size, tilt_range).numpy()
    boxes = np.empty((count, *(box_size,) * 3), dtype=np.float32)
    for i in range(count):
        volume = sum(chain_map(box_size, rotations[i] * element, shifts[i]) for element in group)
        volume = volume + rng.normal(0, noise, volume.shape)
        boxes[i] = np.fft.ifftn(np.fft.fftn(volume) * wedge).real
    truth = torch.from_numpy(sum(chain_map(box_size, element) for element in group))
    return BoxSet(
        boxes,
        np.tile(tilt_range, (count, 1)),
        rotations,
        shifts,
        truth,
    )


def pose_errors(
    truth: BoxSet, rotations: Rotation, shifts: NDArray[np.float64]
) -> tuple[NDArray, NDArray, Rotation]:
    """Return errors in degrees and voxels after the one rigid motion that the reference's frame leaves free."""
    motion = truth.rotations.inv() * rotations
    spread = [np.median(angular_distance(motion, motion[i])) for i in range(len(motion))]
    near = angular_distance(motion, motion[int(np.argmin(spread))]) < 25
    frame = motion[near].mean()
    difference = truth.shifts - shifts
    matrices = rotations.as_matrix()
    offset = np.linalg.lstsq(matrices[near].reshape(-1, 3), difference[near].reshape(-1), rcond=None)[0]
    residual = np.linalg.norm(difference - rotations.apply(offset), axis=1)
    return angular_distance(motion, frame), residual, frame
