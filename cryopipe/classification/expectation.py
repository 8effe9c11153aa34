"""One round of expectation-maximisation over class, rotation, shift and amplitude of every box.

A box is compared with maps that its own fold is not part of. Otherwise its own noise in a map, which is large where a
class has few members, would hold it in its class. So the likelihood of a box is always that of unseen data, and its
mean may be compared between rounds and between numbers of classes.

The likelihood of a pose is integrated over the amplitude a of the particle in its box, with a Gaussian prior about 1:
boxes are divided by their own standard deviation, so that particles in crowded places appear weaker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cryopipe.alignment.search import Grid, cross_terms, energies
from cryopipe.classification.band_boxes import BandBoxes
from cryopipe.classification.class_maps import ClassMaps, shell_sums
from cryopipe.classification.interpolation import RotatedPoints

SCORE_BYTES = 128 * 2**20
"""Largest memory of the likelihoods of one batch of boxes."""
LEAST_WEIGHT = 1e-3
"""Poses whose weight is below this fraction of a box's largest one are left out of the sums."""
AMPLITUDE_DEVIATION = 0.2
"""Standard deviation of the particles' amplitudes about 1."""


@dataclass(frozen=True)
class Expectation:
    """Result of one round for n boxes and C classes.

    Attributes
    ----------
    log_likelihoods
        (n, C) log-likelihood of every box for every class, over all poses, relative to that of pure noise; minus
        infinity where it was not computed.
    responsibilities
        (n, C) posterior of the classes.
    sums
        (C, F, 3, g^3) sums of the boxes of every fold in their likely poses, in the classes' axes.
    residual
        (shells + 1,) power of the boxes without their class's map: that of the noise.
    """

    log_likelihoods: Tensor
    responsibilities: Tensor
    sums: Tensor
    residual: Tensor


@dataclass(frozen=True)
class _Scores:
    """Scores of the boxes `rows` (B',) of a batch for one class: log-likelihoods and amplitudes (B', S, R)."""

    rows: Tensor
    values: Tensor
    amplitudes: Tensor


def expect(
    boxes: BandBoxes,
    maps: ClassMaps,
    noise: Tensor,
    search: Grid,
    log_prior: Tensor,
    fixed: Tensor | None = None,
    advance: Callable[[int], None] | None = None,
) -> Expectation:
    """Weight every class and pose of every box by its likelihood, and sum the boxes.

    Parameters
    ----------
    boxes
        n boxes.
    maps
        C classes.
    noise
        (shells + 1,) standard deviation of the noise.
    search
        R rotations and S shifts.
    log_prior
        (n, C) log-probability of the classes beforehand; minus infinity for classes that a box is not compared with.
    fixed
        (n, C) responsibilities to use for the sums, in place of those of the likelihoods.
    advance
        Called with the number of boxes of every finished batch.
    """
    band = boxes.band
    points, phases = RotatedPoints(band, search.matrices), band.shift_phases(search.shifts_voxels)
    likelihoods = torch.full(log_prior.shape, -torch.inf, device=band.device)
    responsibilities = torch.zeros_like(likelihoods)
    sums = torch.zeros(len(maps), boxes.fold_count, *band.empty_sums().shape, device=band.device)
    residual = boxes.total_power()
    compared = int(torch.isfinite(log_prior).sum(dim=1).max())
    size = max(1, SCORE_BYTES // (8 * compared * len(search.matrices) * len(phases)))
    for fold in range(boxes.fold_count):
        accumulator = _FoldSums(boxes, maps.references(fold, points), noise, phases)
        for part in torch.nonzero(boxes.folds == fold)[:, 0].split(size):
            scores = accumulator.scores(part, torch.isfinite(log_prior[part]))
            for number, one in enumerate(scores):
                poses = one.values[0].numel() if len(one.rows) else 1
                likelihoods[part[one.rows], number] = one.values.flatten(1).logsumexp(dim=1) - math.log(poses)
            responsibilities[part] = (likelihoods[part] + log_prior[part]).softmax(dim=1)
            accumulator.add(part, scores, (responsibilities if fixed is None else fixed)[part])
            if advance is not None:
                advance(len(part))
        accumulator.add_to(points, sums[:, fold], residual)
    noise_power = residual / boxes.measured().clamp(min=1)
    return Expectation(likelihoods, responsibilities, sums, noise_power)


class _FoldSums:
    """Comparison of the boxes of one fold with the references, and sums of the boxes at every rotation.

    Parameters
    ----------
    boxes
        All boxes.
    references
        (C, R, K) coefficients of the maps in all rotations.
    noise
        (shells + 1,).
    phases
        (S, K) of the shifts.
    """

    def __init__(self, boxes: BandBoxes, references: Tensor, noise: Tensor, phases: Tensor) -> None:
        self.boxes, self.references, self.phases = boxes, references, phases
        self.deviation = noise[boxes.band.shell]
        self.values = torch.zeros(*references.shape[:2], 2 * references.shape[2], device=references.device)
        self.weights = torch.zeros_like(references, dtype=torch.float32)
        self._energies = [energies(boxes.wedges, one / self.deviation) for one in references]

    def scores(self, part: Tensor, compared: Tensor) -> list[_Scores]:
        """Return the scores of the boxes `part` (B,) for every class; `compared` (B, C) says which are computed."""
        scaled, schemes = self.boxes.coefficients[part] / self.deviation**2, self.boxes.schemes[part]
        found = []
        for reference, energy, chosen in zip(self.references, self._energies, compared.T, strict=True):
            rows = torch.nonzero(chosen)[:, 0]
            cross = cross_terms(scaled[rows], reference, self.phases)
            found.append(_Scores(rows, *integrated_amplitude(cross, energy[schemes[rows]][:, None])))
        return found

    def add(self, part: Tensor, scores: list[_Scores], responsibilities: Tensor) -> None:
        """Add the boxes `part` (B,) in their likely poses, with `responsibilities` (B, C)."""
        for number, one in enumerate(scores):
            weight = responsibilities[one.rows, number]
            mine = torch.nonzero(weight > LEAST_WEIGHT)[:, 0]
            if not len(mine):
                continue
            values = one.values[mine]
            posterior = values.flatten(1).softmax(dim=1).reshape(values.shape)
            largest = posterior.amax(dim=(1, 2), keepdim=True)
            likely = torch.nonzero((posterior > LEAST_WEIGHT * largest).flatten(0, 1).any(dim=0))[:, 0]
            posterior = posterior[:, :, likely] * weight[mine, None, None]
            amplitudes = one.amplitudes[mine][:, :, likely]
            rows = part[one.rows[mine]]
            shifted = self.boxes.coefficients[rows][:, None] * self.phases.conj()
            flat = torch.view_as_real(shifted).reshape(len(rows) * len(self.phases), -1)
            self.values[number, likely] += (posterior * amplitudes).reshape(-1, len(likely)).T @ flat
            squared = (posterior * amplitudes**2).sum(dim=1)
            self.weights[number, likely] += squared.T @ self.boxes.wedges[self.boxes.schemes[rows]]

    def add_to(self, points: RotatedPoints, sums: Tensor, residual: Tensor) -> None:
        """Rotate the sums back to the classes' axes and add them to `sums`; subtract the maps' power from `residual`."""
        values = torch.view_as_complex(self.values.unflatten(2, (-1, 2)))
        points.add(values, self.weights, sums)
        cross = (values.conj() * self.references).real.sum(dim=(0, 1))
        energy = (self.weights * self.references.abs() ** 2).sum(dim=(0, 1))
        residual += shell_sums(self.boxes.band, energy - 2 * cross)


def integrated_amplitude(cross: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood integrated over the amplitude, and the amplitude's mean, of the shape of `cross`.

    With inner product c and squared norm e of the reference, the integrand is exp(2 a c - a^2 e - h (a - 1)^2), where
    h = 1 / (2 * deviation^2).
    """
    sharpness = 0.5 / AMPLITUDE_DEVIATION**2
    total = energy + sharpness
    mean = (cross + sharpness) / total
    return mean * mean * total - sharpness - 0.5 * (total / sharpness).log(), mean
