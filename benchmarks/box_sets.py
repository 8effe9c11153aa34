"""Boxes of a benchmark with their true classes, simulated individually or cut from simulated tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.plan import BenchmarkPlan
from cryopipe.boxes import ArrayBoxes
from cryopipe.columns import CLASS, COORDINATES, PARTICLE
from cryopipe.errors import FileError
from cryopipe.files.box_stacks import BoxStack, BoxWriter
from cryopipe.files.tables import read_table
from cryopipe.simulation.box_simulator import BoxOptions, BoxSimulator, SimulatedBoxes, random_in_ball
from cryopipe.simulation.phantoms import Phantom
from cryopipe.simulation.tomogram import simulate_tomogram
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms

FloatArray = NDArray[np.float32]
SNR = "cryopipeMeasuredSNR"
"""Column of the truth of cut boxes: the SNR measured in their tomogram."""


@dataclass(frozen=True)
class BoxSet:
    """Boxes and their true classes.

    Attributes
    ----------
    boxes
        n boxes with tilt ranges and voxel size, mean 0 and standard deviation 1 each, particles bright.
    truth
        (n,) class numbers, counted from 0.
    measured_snr
        NaN without noise.
    """

    boxes: ArrayBoxes
    truth: NDArray[np.int64]
    measured_snr: float = float("nan")


def simulate_set(
    phantoms: Sequence[Phantom], options: BoxOptions, labels: torch.Tensor, device: torch.device, seed: int
) -> BoxSet:
    """Simulate one box per label; the label `len(phantoms)` means a box without a central particle."""
    made = BoxSimulator(phantoms, options, device, seed).sample(labels)
    boxes = ArrayBoxes(made.boxes.cpu().numpy(), options.tilt_range, phantoms[0].voxel_size)
    return BoxSet(boxes, labels.cpu().numpy())


def cut_boxes(
    plan: BenchmarkPlan,
    phantoms: Sequence[Phantom],
    writer: BoxWriter,
    device: torch.device,
    seed: int = 1,
) -> pd.DataFrame:
    """Simulate a plan's tomograms, cut boxes around the displaced true centres of their particles, and write them.

    Parameters
    ----------
    plan
        With `tomograms`; the SNR of its first condition is used.
    phantoms
        The classes.
    writer
        Open, with the plan's box size.
    device
        Device of the computation.
    seed
        Random seed of specimens, noise and displacements.

    Returns
    -------
    The truth: one row per box in the order of the file, with name, class (from 0) and the SNR of its tomogram.
    """
    options, size = plan.tomogram_options(), writer.box_size
    reach = float(plan.boxes.get("displacement", 0.0)) / options.voxel_size
    cutting = SubtomogramOptions(size, options.voxel_size, "drop")
    tables = []
    for number in range(1, plan.tomogram_count + 1):
        name = f"tomogram_{number}"
        made = simulate_tomogram(options, seed + number, name, device, phantoms)
        generator = torch.Generator().manual_seed(seed + number)
        centres = made.truth[list(COORDINATES)].to_numpy(float)
        jittered = centres + reach * random_in_ball(len(centres), generator).double().numpy()
        limits = np.array(made.volume.shape[::-1]) - 1.0
        kept = []
        rng = np.random.default_rng([seed, number])
        for indices, boxes in extract_subtomograms(
            made.volume, np.clip(jittered, 0, limits), made.voxel_size, cutting, options.contrast, rng,
            device=device, name=name,
        ):  # fmt: skip
            writer.append(boxes, made.truth[PARTICLE].iloc[indices].tolist())
            kept.extend(indices.tolist())
        truth = made.truth[[PARTICLE, CLASS]].iloc[kept].copy()
        truth[CLASS] -= 1
        truth[SNR] = made.measured_snr
        tables.append(truth)
    return pd.concat(tables, ignore_index=True)


def read_cut_boxes(boxes_path: str, truth_path: str) -> BoxSet:
    """Read boxes written by `cut_boxes`, and the table of their truth.

    Raises
    ------
    FileError
        If the two files contain different particles.
    """
    stack, truth = BoxStack([boxes_path]), read_table(truth_path, (PARTICLE,))
    if stack.names != truth[PARTICLE].tolist():
        raise FileError(
            "the particles differ from those of {truth_path}",
            file=boxes_path,
            remedy="delete both files and repeat the run",
        )
    boxes = ArrayBoxes(stack[:], stack.tilt_ranges, stack.voxel_size)
    return BoxSet(boxes, truth[CLASS].to_numpy(np.int64), float(truth[SNR].mean()))


def measure_snr(
    phantoms: Sequence[Phantom], options: BoxOptions, device: torch.device, count: int = 64
) -> float:
    """Measure the SNR of simulated boxes: signal variance over noise variance in the particle's bounding sphere.

    Single particles at the middle of the defocus range are simulated with and without noise. Inside the sphere,
    the noisy box is modelled as a multiple of the noise-free one plus noise, fitted by least squares. Signed
    amplitudes are averaged before squaring, because the square of a single amplitude is biased by noise.

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
    """Return the ratio of the standard deviations of signal and noise in one box."""
    box = simulator.options.box_size
    axes = [torch.arange(box, device=simulator.device) - box // 2] * 3
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1) * simulator.voxel_size
    radius = simulator.classes[int(noisy.labels[index])].radius
    inside = (grid - noisy.shifts[index]).norm(dim=-1) <= radius
    signal, values = clean[index][inside], noisy.boxes[index][inside]
    signal, values = signal - signal.mean(), values - values.mean()
    factor = (signal @ values) / (signal @ signal)
    return float(factor * signal.std() / (values - factor * signal).std())
