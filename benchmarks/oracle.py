"""Oracle: the best possible classification of simulated boxes, with the true noise-free maps and all poses.

The likelihood of every box is summed over rotations and shifts of every class's map inside the missing wedge and up to
a resolution. A learner without knowledge of the maps cannot do better, apart from the limits of grid and resolution.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.class_scores import class_scores
from benchmarks.hardware import peak_memory
from benchmarks.task import Task
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, cross_terms, energies, shift_grid
from cryopipe.alignment.spectra import Spectra, batches, noise_from_power
from cryopipe.boxes import TiltBoxes
from cryopipe.config import section_of
from cryopipe.simulation.box_simulator import BoxSimulator
from cryopipe.volume.geometry import random_rotations, rotation_grid

SCALE_BOXES = 30
"""Boxes of each class from which the amplitude of its map is estimated."""
SCALE_ROUNDS = 3
LEAST_NOISE = 0.05
"""Smallest noise power in a shell, as a fraction of the boxes' power there."""


@dataclass(frozen=True)
class OracleOptions:
    """Options of the oracle.

    Attributes
    ----------
    angular_step
        Covering radius of the grid of rotations, degrees.
    resolution
        Finest resolution of the comparison, angstrom.
    views
        Noise-free boxes of each class that its map is computed from.
    """

    angular_step: float = 20.0
    resolution: float = 50.0
    views: int = 60


def run(task: Task) -> list[dict[str, Any]]:
    """Return a row per condition: the scores of the most probable classes."""
    options = section_of(OracleOptions, f"learner {task.name}", task.options)
    started = time.monotonic()
    with peak_memory(task.device) as peak:
        scores = class_scores(task.boxes.truth, _classes(task, options))
    cost = {"seconds": time.monotonic() - started, "memory_gb": peak.gigabytes}
    return [{"condition": condition.name, **scores, **cost} for condition in task.conditions]


def _classes(task: Task, options: OracleOptions) -> NDArray[np.int64]:
    imaging = task.plan.box_options(task.size, task.conditions[0].snr, task.maps)
    simulator = BoxSimulator(task.phantoms, replace(imaging, crowding=0.0), task.device, task.seed)
    band = band_to(options.resolution, imaging.box_size, simulator.voxel_size, task.device)
    oracle = Oracle(task.boxes.boxes, band, task.device)
    maps = [oracle.class_map(simulator, number, options.views) for number in range(len(task.phantoms))]
    reach = max(1.0, imaging.displacement / simulator.voxel_size)
    matrices = torch.from_numpy(rotation_grid(options.angular_step).as_matrix()).float().to(task.device)
    search = Grid(matrices, shift_grid(reach, 1.0, task.device))
    return oracle.most_probable(maps, search, task.boxes.truth, task.plan.classes.empty)


def band_to(resolution: float, box_size: int, voxel_size: float, device: torch.device) -> Band:
    """Return the coefficients of boxes up to a resolution, angstrom."""
    return Band(box_size, math.ceil(box_size * voxel_size / max(resolution, 2 * voxel_size)), device)


class Oracle:
    """Likelihoods of boxes given maps.

    Parameters
    ----------
    boxes
        n boxes with their tilt ranges.
    band
        The compared coefficients.
    device
        Device of the computation.
    """

    def __init__(self, boxes: TiltBoxes, band: Band, device: torch.device) -> None:
        self.band = band
        self.spectra = Spectra(boxes, boxes.tilt_ranges, device)
        self.wedges = self.spectra.measured(band)
        self.schemes = self.spectra.scheme_of_box
        everything = np.arange(len(boxes))
        parts = batches(everything, 40 * boxes.shape[-1] ** 3)
        self.coefficients = torch.cat([self.spectra.coefficients(part, band, self.wedges) for part in parts])
        self.power = noise_from_power(self.coefficients, self.wedges[self.schemes], band)
        self.noise = self.power

    def class_map(self, simulator: BoxSimulator, number: int, views: int) -> Tensor:
        """Return the noise-free reconstruction (z, y, x) of a class, averaged over random orientations.

        It contains the contrast transfer function, and its coefficients are divided by the transfer of the first tilt
        scheme, as those of the boxes are.
        """
        rotations = random_rotations(views, np.random.default_rng(number)).as_matrix()
        matrices = torch.from_numpy(rotations).float().to(self.band.device)
        labels = torch.full((views,), number, device=self.band.device)
        clean = simulator.noise_free(labels, matrices, torch.zeros(views, 3, device=self.band.device))
        weights = self.wedges[:1] / self.band.picked(self.spectra.transfer[:1]).clamp(min=1e-3)
        values = self.band.coefficients(clean - clean.mean(dim=(1, 2, 3), keepdim=True)) * weights
        sums = self.band.empty_sums()
        self.band.interpolation_sums(values, self.wedges[:1].expand(views, -1), matrices, sums)
        return self.band.volume_from_sums(sums, torch.full((self.band.shells + 1,), 0.01))

    def most_probable(
        self, maps: list[Tensor], search: Grid, truth: NDArray[np.int64], empty: bool = False
    ) -> NDArray[np.int64]:
        """Return the (n,) most probable classes, all classes and poses equally probable beforehand.

        The amplitude of every map and the spectrum of the noise, which is that of the boxes without the maps', are
        estimated from boxes of known classes. With `empty`, one more class has no particle.
        """
        references = [self.band.project(self.band.reference_grid(one), search.matrices) for one in maps]
        phases = self.band.shift_phases(search.shifts_voxels)
        scales = self.scales(references, phases, truth)
        columns = [
            self.log_likelihoods(one * scale, phases) for one, scale in zip(references, scales, strict=True)
        ]
        columns += [torch.zeros_like(columns[0])] * empty
        return torch.stack(columns, dim=1).argmax(dim=1).cpu().numpy()

    def scales(self, references: list[Tensor], phases: Tensor, truth: NDArray[np.int64]) -> list[float]:
        """Return the amplitude of every class's map (R, K) in the boxes, and estimate the noise."""
        scales = [self._first_scale(one) for one in references]
        for _ in range(SCALE_ROUNDS):
            self.noise = self._residual_noise(references, scales)
            scales = [
                self._scale(one, scale, phases, np.flatnonzero(truth == number)[:SCALE_BOXES])
                for number, (one, scale) in enumerate(zip(references, scales, strict=True))
            ]
        return scales

    def log_likelihoods(self, references: Tensor, phases: Tensor) -> Tensor:
        """Return (n,) log-likelihoods of the boxes, averaged over references (R, K) and shifts (S, K)."""
        scaled = references / self.noise
        energy = energies(self.wedges, scaled)
        found = []
        for part in self._parts(len(references) * len(phases), np.arange(len(self.coefficients))):
            cross = cross_terms(self.coefficients[part] / self.noise, scaled, phases)
            scores = (2 * cross - energy[self.schemes[part]][:, None]).flatten(1)
            found.append(scores.logsumexp(dim=1) - math.log(scores.shape[1]))
        return torch.cat(found)

    def _parts(self, poses: int, indices: NDArray[np.intp]) -> Any:
        return (torch.from_numpy(part).to(self.band.device) for part in batches(indices, 12 * poses))

    def _first_scale(self, references: Tensor) -> float:
        """Return the amplitude at which the map has as much power as the boxes, an upper limit."""
        box = (self.coefficients.abs() ** 2).mean()
        return float((box / (references.abs() ** 2 * self.wedges[0]).mean()).sqrt())

    def _residual_noise(self, references: list[Tensor], scales: list[float]) -> Tensor:
        """Return (K,) standard deviations of the noise: the boxes' power without the mean power of the maps."""
        shells, sizes = self.band.shell, self.band.shell_sizes
        signal = torch.stack(
            [(one.abs() ** 2).mean(dim=0) * scale**2 for one, scale in zip(references, scales, strict=True)]
        ).mean(dim=0)
        mean = torch.zeros_like(sizes).index_add_(0, shells, signal) / sizes.clamp(min=1)
        power = self.power**2
        return (power - mean[shells]).maximum(LEAST_NOISE * power).sqrt()

    def _scale(self, references: Tensor, scale: float, phases: Tensor, members: NDArray[np.intp]) -> float:
        """Return the amplitude of a class's map after one step of expectation-maximisation over the poses."""
        scaled = references / self.noise
        energy = energies(self.wedges, scaled)
        top, bottom = 0.0, 0.0
        for part in self._parts(len(references) * len(phases), members):
            cross = cross_terms(self.coefficients[part] / self.noise, scaled, phases)
            own = energy[self.schemes[part]][:, None].expand_as(cross)
            weights = (2 * scale * cross - scale**2 * own).flatten(1).softmax(dim=1)
            top += float((weights * cross.flatten(1)).sum())
            bottom += float((weights * own.flatten(1)).sum())
        return max(top / bottom, 1e-3 * scale) if bottom else scale
