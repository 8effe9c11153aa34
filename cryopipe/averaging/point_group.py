"""Search for the point group of an average, from two half-maps that were averaged without symmetry."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.volume.fsc import randomise_phases
from cryopipe.volume.geometry import rotation_grid, symmetry_rotations
from cryopipe.volume.masks import radius_grid

FloatArray = NDArray[np.float64]
GROUPS = (*(f"C{n}" for n in range(2, 13)), *(f"D{n}" for n in range(2, 13)), "T", "O", "I")
LARGEST_FOLD = 12
MOST_SHELLS = 12
"""Finest shell that is compared; more cost time and rarely decide."""
COARSE_SHELLS = 7
"""Finest shell of the first search for axes."""
LEAST_SHELLS = 4
"""Shells a map needs: below, any compact shape looks symmetric."""
LEAST_SCORE = 0.75
"""Smallest score of a proposed group."""
MARGIN = 0.15
"""A proposed group scores this much better than it does in maps with random phases."""
LEAST_AGREEMENT = 0.3
"""Smallest correlation of the half-maps without their radial means; below, the map is a sphere or noise."""
AXIS_STEP = 7.0
"""Degrees between the axes of the first search."""
STEPS = (4.0, 2.0, 1.0, 0.5)
"""Degrees by which the orientation of a group is varied in the refinement."""
CANDIDATES = 3
"""Orientations per group that are refined."""
NULL_DRAWS = 2


@dataclass(frozen=True)
class PointGroup:
    """The point group of an average.

    Attributes
    ----------
    name
        The largest group that fits; C1 if none does; empty if the maps cannot decide.
    score
        Of that group; see `group_scores`. NaN for C1.
    null
        The score of that group in maps with random phases; NaN for C1.
    """

    name: str
    score: float = math.nan
    null: float = math.nan


def propose_point_group(
    half_maps: tuple[Tensor, Tensor], radius_voxels: float, resolution_voxels: float, seed: int
) -> PointGroup:
    """Propose the largest point group under which each half-map, rotated, agrees with the other as well as unrotated.

    Parameters
    ----------
    half_maps
        Two superposed (z, y, x) maps, averaged without symmetry, with the centre of mass in the centre of the box.
    radius_voxels
        Radius of the particle.
    resolution_voxels
        Resolution of the maps, as a period in voxels; infinite gives no proposal.
    seed
        Of the random phases.
    """
    box = half_maps[0].shape[0]
    shells = min(MOST_SHELLS, int(box / resolution_voxels))
    if shells < LEAST_SHELLS:
        return PointGroup("")
    halves = [_without_radial_mean(half.float(), radius_voxels) for half in half_maps]
    scores = group_scores(halves[0], halves[1], shells)
    if not scores:
        return PointGroup("")
    fitting = [name for name in GROUPS if scores[name] >= LEAST_SCORE]
    if not fitting:
        return PointGroup("C1")
    null = _null_scores((halves[0] + halves[1]) / 2, shells, radius_voxels, seed, fitting)
    fitting = [name for name in fitting if scores[name] >= null[name] + MARGIN]
    if not fitting:
        return PointGroup("C1")
    # A map with an axis of any fold, such as a rod, fits all of them: nothing singles one out.
    folds = [name for name in fitting if name[0] in "CD"]
    if all(f"C{fold}" in folds for fold in range(7, LARGEST_FOLD + 1)):
        return PointGroup("")
    best = max(fitting, key=lambda name: (len(_elements(name)) + 1, scores[name]))
    return PointGroup(best, scores[best], null[best])


def group_scores(
    half1: Tensor, half2: Tensor, shells: int, names: Collection[str] = GROUPS
) -> dict[str, float]:
    """Return for groups how well it fits the maps, in its best orientation.

    Parameters
    ----------
    half1, half2
        (z, y, x) maps without their radial means.
    shells
        Outermost Fourier shell that is compared. Shells have equal power, times the half-maps' correlation in them.
    names
        Some of `GROUPS`.

    Returns
    -------
    The smallest correlation between `half1` and `half2` rotated by an element of the group, over the correlation without
    rotation: 1 for a symmetry of the map, about 0 for rotations that it does not have. Empty if the half-maps do not
    agree.
    """
    search = _Search(half1, half2, shells)
    if search.unrotated < LEAST_AGREEMENT:
        return {}
    coarse = _Search(half1, half2, min(shells, COARSE_SHELLS))
    scores, axes = {}, _axes(AXIS_STEP)
    for fold in sorted({int(name[1:]) for name in names if name[0] in "CD"}):
        correlation = coarse.correlations(Rotation.from_rotvec(2 * np.pi / fold * axes))
        starts = [_frame(axes[i]) for i in np.argsort(-correlation)[:CANDIDATES]]
        scores[f"C{fold}"], frame = search.refined(f"C{fold}", starts)
        # The two-fold axes of a D group are perpendicular to its main axis.
        frames = frame * Rotation.from_rotvec(np.radians(np.arange(0, 180 / fold, 4.0))[:, None] * [0, 0, 1])
        twofold = coarse.correlations(frames * Rotation.from_rotvec([np.pi, 0, 0]) * frames.inv())
        starts = [frames[int(i)] for i in np.argsort(-twofold)[:CANDIDATES]]
        scores[f"D{fold}"], _ = search.refined(f"D{fold}", starts)
    for name in sorted({"T", "O", "I"} & set(names)):
        frames = _orientations(name)
        first, second = (coarse.correlations(frames * one * frames.inv()) for one in _generators(name))
        order = np.argsort(-np.minimum(first, second))[:CANDIDATES]
        scores[name], _ = search.refined(name, [frames[int(i)] for i in order])
    return {name: scores[name] for name in names}


class _Search:
    """Correlation of one map with rotated copies of another, over that without rotation."""

    def __init__(self, half1: Tensor, half2: Tensor, shells: int) -> None:
        self.band = band = Band(half1.shape[0], shells, half1.device)
        first, second = (band.coefficients(half[None])[0] for half in (half1, half2))
        power = [_by_shell(c.abs() ** 2, band) for c in (first, second)]
        cross = _by_shell((first * second.conj()).real, band)
        correlation = cross / (power[0] * power[1]).sqrt().clamp(min=1e-12)
        self._weights = (correlation.clamp(0, 1) / power[0].clamp(min=1e-12).sqrt())[band.shell]
        self._second = (1 / power[1].clamp(min=1e-12).sqrt())[band.shell]
        self._first = first * self._weights
        self._grid = band.reference_grid(half2)
        # Interpolated like all others, so that interpolation errors cancel.
        self._scale = 1.0
        near = Rotation.from_rotvec(np.radians(0.01) * np.eye(3))
        # The mean of the shells' correlations, weighted by themselves: some shells of a symmetric map are empty.
        weights = (correlation.clamp(0, 1) * band.shell_sizes)[1:]
        self.unrotated = float((weights * correlation[1:]).sum() / weights.sum().clamp(min=1e-12))
        self._scale = max(1e-12, float(self.correlations(near).mean()))

    def correlations(self, rotations: Rotation) -> FloatArray:
        """Return the (n,) correlations for n rotations about the centre."""
        matrices, found = torch.from_numpy(rotations.as_matrix()).float().reshape(-1, 3, 3), []
        for part in matrices.split(256):
            rotated = self.band.project(self._grid, part.to(self._first.device)) * self._second
            found.append((rotated * self._first.conj()).real.sum(dim=1))
        return np.asarray(torch.cat(found).double().cpu().numpy() / self._scale)

    def score(self, name: str, frames: Rotation) -> FloatArray:
        """Return the (n,) smallest correlations over the elements of a group in n orientations."""
        lowest = np.full(len(frames), np.inf)
        for element in _elements(name):
            lowest = np.minimum(lowest, self.correlations(frames * element * frames.inv()))
        return lowest

    def refined(self, name: str, starts: list[Rotation]) -> tuple[float, Rotation]:
        """Return the best score near some orientations, and its orientation."""
        frames = Rotation.concatenate(starts)
        values = self.score(name, frames)
        best, frame = float(values.max()), frames[int(np.argmax(values))]
        if best < 0.3:
            return best, frame
        for step in STEPS:
            for _ in range(2):
                offsets = np.radians(step) * np.concatenate([np.eye(3), -np.eye(3)])
                tried = Rotation.from_rotvec(offsets) * frame
                values = self.score(name, tried)
                if values.max() <= best:
                    break
                best, frame = float(values.max()), tried[int(np.argmax(values))]
        return best, frame


def _null_scores(
    average: Tensor, shells: int, radius_voxels: float, seed: int, names: Collection[str]
) -> dict[str, float]:
    """Return the highest scores of groups in maps with the power of the average and random phases."""
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(NULL_DRAWS):
        random = _without_radial_mean(randomise_phases(average, 1, generator), radius_voxels)
        found.append(group_scores(random, random, shells, names))
    return {name: max((scores.get(name, -1.0) for scores in found), default=-1.0) for name in names}


def _without_radial_mean(volume: Tensor, radius_voxels: float) -> Tensor:
    """Return a map inside a soft sphere without its mean over shells, which every rotation leaves as it is."""
    box = volume.shape[0]
    radius = radius_grid(box, volume.device)
    edge = max(2.0, box / 10)
    limit = min(radius_voxels, box / 2 - edge)
    mask = (1 + torch.cos(torch.pi * ((radius - limit) / edge).clamp(0, 1))) / 2
    lower = radius.floor().long().flatten()
    upper_part = (radius - radius.floor()).flatten()
    values, size = volume.flatten(), int(lower.max()) + 2
    sums, weights = (torch.zeros(size, device=volume.device) for _ in range(2))
    for index, part in ((lower, 1 - upper_part), (lower + 1, upper_part)):
        sums.index_add_(0, index, values * part)
        weights.index_add_(0, index, part)
    means = sums / weights.clamp(min=1e-6)
    mean = means[lower] * (1 - upper_part) + means[lower + 1] * upper_part
    return (volume - mean.reshape(volume.shape)) * mask


def _by_shell(values: Tensor, band: Band) -> Tensor:
    total = torch.zeros(band.shells + 1, device=band.device).index_add_(0, band.shell, values)
    return total / band.shell_sizes.clamp(min=1)


def _axes(step: float) -> FloatArray:
    """Return (n, 3) unit vectors about `step` degrees apart on a half sphere (a Fibonacci spiral)."""
    count = math.ceil(2 * math.pi / math.radians(step) ** 2)
    z = (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + math.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _frame(axis: FloatArray) -> Rotation:
    """Return a rotation that carries z onto an axis."""
    return Rotation.align_vectors(axis[None], np.array([[0.0, 0.0, 1.0]]))[0]


def _generators(name: str) -> tuple[Rotation, Rotation]:
    """Return two rotations that generate T, O or I."""
    golden = (1 + math.sqrt(5)) / 2
    folds = {
        "T": ((3, (1, 1, 1)), (2, (0, 0, 1))),
        "O": ((3, (1, 1, 1)), (4, (0, 0, 1))),
        "I": ((3, (1, 1, 1)), (5, (0, 1, golden))),
    }[name]
    first, second = (
        Rotation.from_rotvec(2 * np.pi / fold * np.array(axis) / np.linalg.norm(axis)) for fold, axis in folds
    )
    return first, second


@cache
def _elements(name: str) -> tuple[Rotation, ...]:
    """Return the rotations of a group except the identity, and one of each rotation and its inverse."""
    # scipy's groups have two-fold axes (T, I) or four-fold axes (O) on x, y and z, as `_generators`.
    group = Rotation.create_group(name) if name in ("T", "O", "I") else symmetry_rotations(name)
    chosen: list[Rotation] = []
    for element in group:
        known = [(element * other).magnitude() for other in chosen]
        if element.magnitude() > 1e-6 and (not known or min(known) > 1e-6):
            chosen.append(element)
    return tuple(chosen)


@cache
def _orientations(name: str) -> Rotation:
    """Return orientations of T, O or I that cover all different ones."""
    grid = rotation_grid(9.0)
    nearest = np.min([(grid * element).magnitude() for element in Rotation.create_group(name)], axis=0)
    return grid[grid.magnitude() <= nearest + math.radians(4.5)]
