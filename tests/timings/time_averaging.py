"""Averaging without a template against exact truth: angles, shifts, FSC, processor time.

    python tests/timings/time_averaging.py MAP.mrc [MAP.mrc ...] [--snr 0.1 0.03] [--seeds 1 2 3]

Every map is read as points, which are rotated and shifted exactly and drawn as Gaussians of 7 A: 200 boxes
of 32 voxels of 13.333 A, orientations uniform, shifts within +-1.5 voxels, white noise, wedge +-60 degrees.
SNR is the signal's variance over the box to the noise's, before the wedge.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from aligned_sets import BoxSet, pose_errors

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Poses
from cryopipe.averaging import AlignmentResult, AveragingOptions, align_cluster
from cryopipe.averaging.superposition import rotated, superpose
from cryopipe.volume.fsc import fourier_shell_correlation, resolution_at
from cryopipe.volume.geometry import random_rotations
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.wedge import wedge_mask

BOX, VOXEL = 32, 13.3333


def read_points(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 3) x, y, z in angstrom about the centre of mass, and (n,) weights, of a map's voxels."""
    with mrcfile.open(path) as mrc:
        density, voxel_size = np.asarray(mrc.data, dtype=float), float(mrc.voxel_size.x)
    z, y, x = np.nonzero(density > 0.02 * density.max())
    weights = density[z, y, x]
    points = np.stack([x, y, z], axis=1) * voxel_size
    return points - np.average(points, axis=0, weights=weights), weights / weights.sum()


def draw(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    rotation: Rotation | None = None,
    shift: NDArray[np.float64] | None = None,
    sigma: float = 7.0,
) -> NDArray[np.float64]:
    """Draw points as Gaussians through their exact transform; `shift` in voxels."""
    moved = points if rotation is None else rotation.apply(points)
    moved = moved / VOXEL + (0 if shift is None else shift) + BOX // 2
    # Each point is a product of three one-dimensional Gaussians.
    grid = np.arange(BOX)
    gx, gy, gz = (
        np.exp(-((grid[None] - moved[:, axis, None]) ** 2) / (2 * (sigma / VOXEL) ** 2)) for axis in range(3)
    )
    volume = np.zeros((BOX, BOX * BOX))
    for first in range(0, len(moved), 4096):
        part = slice(first, first + 4096)
        plane = (gy[part, :, None] * gx[part, None, :]).reshape(-1, BOX * BOX)
        volume += (gz[part] * weights[part, None]).T @ plane
    return volume.reshape(BOX, BOX, BOX)


def make_set(path: Path, snr: float, seed: int, count: int) -> BoxSet:
    """Make the boxes of one map."""
    points, weights = read_points(path)
    rng = np.random.default_rng(seed)
    truth = draw(points, weights)
    noise = truth.std() / np.sqrt(snr)
    rotations, shifts = random_rotations(count, rng), rng.uniform(-1.5, 1.5, (count, 3))
    wedge = wedge_mask(BOX, (-60, 60)).numpy()
    boxes = np.empty((count, BOX, BOX, BOX), dtype=np.float32)
    for i in range(count):
        volume = draw(points, weights, rotations[i], shifts[i]) + rng.normal(0, noise, truth.shape)
        boxes[i] = np.fft.ifftn(np.fft.fftn(volume) * wedge).real / noise
    return BoxSet(boxes, np.tile([-60.0, 60.0], (count, 1)), rotations, shifts, torch.from_numpy(truth))


def against_truth(result: AlignmentResult, truth: BoxSet, frame: Rotation) -> tuple[float, float]:
    """Return the average's resolutions against the truth at FSC 0.5 and 0.143, angstrom."""
    average, exact = torch.from_numpy(result.average), truth.truth.float()
    band = Band(BOX, 14, torch.device("cpu"))
    guess = Poses(torch.from_numpy(frame.as_matrix()).float()[None], torch.zeros(1, 3))
    pose, _ = superpose(exact, average, band, guess, 4.0)
    mask = sphere_mask(BOX, BOX * 0.36, 4)
    fsc = fourier_shell_correlation(rotated(average, pose), exact, VOXEL, mask)
    return resolution_at(fsc, 0.5), resolution_at(fsc, 0.143)


def measure(path: Path, snr: float, seed: int, count: int) -> str:
    """Align one set and return its row of the table."""
    truth = make_set(path, snr, seed, count)
    processor, wall = time.process_time(), time.perf_counter()
    result = align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, AveragingOptions(), seed)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    angles, shifts, frame = pose_errors(truth, result.rotations, result.shifts_voxels)
    half, low = against_truth(result, truth, frame)
    return (
        f"{path.stem:12s} {snr:6.3f} {seed:4d} {processor:7.1f} {wall:7.1f} {np.median(angles):6.2f} "
        f"{np.quantile(angles, 0.9):6.2f} {np.mean(angles > 20):6.3f} {np.median(shifts) * VOXEL:6.2f} "
        f"{half:6.1f} {low:6.1f} {result.resolution_05:6.1f} {result.resolution_0143:6.1f} {result.kept.sum():5d}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("maps", nargs="+", type=Path)
    parser.add_argument("--snr", nargs="+", type=float, default=[0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    print("                           time, s       angle, degrees      shift  truth, A      halves, A")
    print(
        "map             SNR seed     CPU    wall median    p90   > 20      A    0.5  0.143    0.5  0.143  kept"
    )
    for path in arguments.maps:
        for snr in arguments.snr:
            for seed in arguments.seeds:
                print(measure(path, snr, seed, arguments.count), flush=True)


if __name__ == "__main__":
    main()
