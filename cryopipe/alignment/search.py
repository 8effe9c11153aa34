"""Search and local refinement of the poses of boxes relative to a reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryopipe.alignment.fourier_band import Band


@dataclass(frozen=True)
class Grid:
    """The poses of an exhaustive search.

    Attributes
    ----------
    matrices
        (R, 3, 3) rotations, reference to particle.
    shifts_voxels
        (S, 3) displacements x, y, z of the particle.
    """

    matrices: Tensor
    shifts_voxels: Tensor


def shift_grid(radius_voxels: float, step_voxels: float, device: torch.device) -> Tensor:
    """Return (S, 3) displacements within a sphere on a cubic lattice, the origin among them."""
    count = int(radius_voxels / step_voxels + 1e-6)
    axis = torch.arange(-count, count + 1, device=device) * step_voxels
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return lattice[lattice.norm(dim=1) <= radius_voxels * 1.001 + 1e-6]


def log_likelihoods(
    coefficients: Tensor, schemes: Tensor, measured: Tensor, references: Tensor, phases: Tensor
) -> Tensor:
    """Return the log-likelihood of every box for every rotation and shift of the reference, inside the wedge.

    Parameters
    ----------
    coefficients
        (B, K) of the boxes, divided by the noise's standard deviation and 0 where not measured.
    schemes
        (B,) row of `measured` for each box.
    measured
        (W, K) 1 where a tilt scheme has measured.
    references
        (R, K) of the rotated references, divided by the noise's standard deviation.
    phases
        (S, K) factors of the shifts.

    Returns
    -------
    (B, S, R) log-likelihood relative to that of pure noise.
    """
    cross = cross_terms(coefficients, references, phases)
    return 2 * cross - energies(measured, references)[schemes][:, None]


def cross_terms(coefficients: Tensor, references: Tensor, phases: Tensor) -> Tensor:
    """Return (B, S, R) real inner products of boxes (B, K) and references (R, K) in all shifts (S, K)."""
    boxes, shifts = len(coefficients), len(phases)
    # Boxes are shifted rather than references: there are fewer boxes than rotations.
    width = 2 * coefficients.shape[1]
    back = torch.view_as_real(coefficients[:, None] * phases.conj()).reshape(boxes * shifts, width)
    cross = back @ torch.view_as_real(references).reshape(len(references), width).T
    return cross.reshape(boxes, shifts, len(references))


def energies(measured: Tensor, references: Tensor) -> Tensor:
    """Return (W, R) squared norms of references (R, K) inside the measured regions (W, K)."""
    return measured @ (references.real**2 + references.imag**2).T


@dataclass
class Poses:
    """Rotations (n, 3, 3), reference to particle, and shifts (n, 3) x, y, z in voxels."""

    matrices: Tensor
    shifts_voxels: Tensor

    def chosen(self, indices: Tensor) -> Poses:
        """Return the poses of these indices."""
        return Poses(self.matrices[indices], self.shifts_voxels[indices])


@dataclass
class Reference:
    """A reference map prepared for comparison with boxes.

    Attributes
    ----------
    band
        The compared coefficients.
    grid
        The map's transform, from `Band.reference_grid`; with its gradient for refinement.
    noise
        (K,) standard deviation of the boxes' noise.
    """

    band: Band
    grid: Tensor
    noise: Tensor

    def at(self, poses: Poses) -> Tensor:
        """Return (n, K) noise-weighted coefficients of the map in these poses."""
        rotated = self.band.project(self.grid, poses.matrices)
        return rotated * self.band.shift_phases(poses.shifts_voxels) / self.noise

    def with_derivatives(self, poses: Poses) -> tuple[Tensor, Tensor]:
        """Return the coefficients of `at` and their (n, 6, K) derivatives by rotation (radians) and shift (voxels)."""
        rotated, by_rotation = self.band.project_gradient(self.grid, poses.matrices)
        factor = self.band.shift_phases(poses.shifts_voxels) / self.noise
        model = rotated * factor
        by_shift = model[:, None] * (self.band.frequencies.T * (-2j * torch.pi / self.band.box_size))
        return model, torch.cat([by_rotation * factor[:, None], by_shift], dim=1)


def best_on_grid(
    coefficients: Tensor, schemes: Tensor, wedges: Tensor, reference: Reference, search: Grid
) -> Poses:
    """Return the most likely pose of each box in an exhaustive search.

    Parameters
    ----------
    coefficients
        (B, K) of the boxes, divided by the noise, 0 where not measured.
    schemes, wedges
        Tilt scheme of every box, and the measured coefficients of the schemes.
    reference
        The map.
    search
        Rotations and shifts.
    """
    phases = reference.band.shift_phases(search.shifts_voxels)
    best = torch.full((len(coefficients),), -torch.inf, device=coefficients.device)
    rotation, shift = torch.zeros_like(best, dtype=torch.long), torch.zeros_like(best, dtype=torch.long)
    step = 512
    for first in range(0, len(search.matrices), step):
        matrices = search.matrices[first : first + step]
        rotated = reference.band.project(reference.grid, matrices) / reference.noise
        scores = log_likelihoods(coefficients, schemes, wedges, rotated, phases).flatten(1)
        value, at = scores.max(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        rotation = torch.where(better, at % len(matrices) + first, rotation)
        shift = torch.where(better, at // len(matrices), shift)
    return Poses(search.matrices[rotation], search.shifts_voxels[shift])


def refine_poses(
    coefficients: Tensor, measured: Tensor, reference: Reference, poses: Poses, max_shift_voxels: float,
    rounds: int = 3,
) -> tuple[Poses, Tensor]:  # fmt: skip
    """Refine poses locally with damped Gauss-Newton steps in rotation and shift.

    Parameters
    ----------
    coefficients
        (B, K) of the boxes, divided by the noise, 0 where not measured.
    measured
        (B, K) 1 where measured.
    reference
        The map.
    poses
        Initial poses.
    max_shift_voxels
        Steps to larger shifts are rejected.
    rounds
        Number of steps.

    Returns
    -------
    The poses and (B,) correlations of box and map over the measured coefficients.
    """
    damping = torch.full((len(coefficients),), 0.03, device=coefficients.device)
    model, jacobian = reference.with_derivatives(poses)
    model, jacobian = model * measured, jacobian * measured[:, None]
    misfit = ((coefficients - model).abs() ** 2).sum(dim=1)
    for number in range(rounds):
        step = _gauss_newton_step(coefficients - model, jacobian, damping)
        trial = Poses(_rotation_matrices(step[:, :3]) @ poses.matrices, poses.shifts_voxels + step[:, 3:])
        last = number == rounds - 1
        # No step follows the last one, so it needs no derivatives.
        trial_model, trial_jacobian = (
            (reference.at(trial), None) if last else reference.with_derivatives(trial)
        )
        trial_model = trial_model * measured
        trial_misfit = ((coefficients - trial_model).abs() ** 2).sum(dim=1)
        good = (trial_misfit < misfit) & (trial.shifts_voxels.norm(dim=1) <= max_shift_voxels)
        poses = Poses(
            torch.where(good[:, None, None], trial.matrices, poses.matrices),
            torch.where(good[:, None], trial.shifts_voxels, poses.shifts_voxels),
        )
        model = torch.where(good[:, None], trial_model, model)
        misfit = torch.where(good, trial_misfit, misfit)
        if trial_jacobian is not None:
            jacobian = torch.where(good[:, None, None], trial_jacobian * measured[:, None], jacobian)
            damping = torch.where(good, damping / 3, damping * 10)
    return poses, _correlation(coefficients, model)


def _gauss_newton_step(residual: Tensor, jacobian: Tensor, damping: Tensor) -> Tensor:
    """Return (B, 6): rotation vector (radians, particle's axes) and shift (voxels)."""
    columns = torch.view_as_real(jacobian).flatten(2)
    normal = columns @ columns.transpose(1, 2)
    gradient = (columns @ torch.view_as_real(residual).flatten(1)[..., None])[..., 0]
    diagonal = normal.diagonal(dim1=1, dim2=2)
    least = 1e-6 * diagonal.amax(dim=1, keepdim=True) + 1e-9
    step = torch.linalg.solve(normal + torch.diag_embed(damping[:, None] * diagonal + least), gradient)
    limit = torch.tensor([0.12] * 3 + [1.0] * 3, device=step.device)
    return step.clamp(-limit, limit)


def _rotation_matrices(vectors: Tensor) -> Tensor:
    """Return (n, 3, 3) rotations about (n, 3) vectors by their length in radians."""
    cross = torch.zeros(len(vectors), 3, 3, device=vectors.device)
    x, y, z = vectors.unbind(dim=1)
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -z, y, -x
    return torch.linalg.matrix_exp(cross - cross.transpose(1, 2))


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    norm = (a.abs() ** 2).sum(dim=1).sqrt() * (b.abs() ** 2).sum(dim=1).sqrt()
    return (a.conj() * b).sum(dim=1).real / norm.clamp(min=1e-12)
