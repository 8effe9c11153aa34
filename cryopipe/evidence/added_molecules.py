"""Spike-in: known molecules added to a copy of a tomogram, imaged as its own particles are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe import columns
from cryopipe.particles import pick_table, pose_columns
from cryopipe.simulation import AssemblySpec, Phantom, phantom
from cryopipe.simulation.optics import Optics, contrast_transfer
from cryopipe.simulation.rendering import ParticleRenderer
from cryopipe.simulation.tomogram import SPECIES
from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.geometry import random_rotations
from cryopipe.volume.padding import Region, find_padding
from cryopipe.volume.wedge import measured
from cryopipe.volume.windows import overlap_windows

LIGHTEST = 100e3
"""Dalton; lighter phantoms are this one, scaled."""
GAP = 1.1
"""Distance of added particles to each other and to picks, in sums of their radii."""
TRIALS = 200
"""Positions that are tried per particle."""
MARGIN = 2
"""Edge of the box in which a particle is imaged, in edges of its density."""
CORE, RIM = (0.0, 0.35), (1.0, 1.3)
"""Range of distances from a particle's centre, in diameters, where its density and its surroundings are measured."""
FEWEST = 10
"""Particles from which a contrast is measured."""


@dataclass(frozen=True)
class Imaging:
    """How a tomogram shows density.

    Attributes
    ----------
    tilts
        See `Tomogram.tilts`.
    optics
        With the defocus; None if it is unknown or corrected: the contrast transfer function is then 1.
    contrast
        Grey value of solid protein above ice, before the missing wedge and the transfer function; negative if particles are
        dark.
    """

    tilts: tuple[float, ...]
    optics: Optics | None
    contrast: float


def spike_phantoms(masses: Sequence[float], voxel_size: float, seed: int) -> list[Phantom]:
    """Return one procedural globular molecule per mass in dalton, named after it, such as `spike_150kDa`.

    The mass is that of the density: solid protein has 0.81 Da per cubic angstrom (1.35 g/cm3).
    """
    resolution = 2.2 * voxel_size
    made = []
    for number, mass in enumerate(masses):
        scale = min(1.0, (mass / LIGHTEST) ** (1 / 3))
        name = f"spike_{mass / 1e3:g}kDa".replace(".", "_")
        spec = AssemblySpec("globular", "C1", max(mass, LIGHTEST), 7000 + 100 * seed + number, name)
        one = phantom(spec, voxel_size / scale, resolution / scale)
        # the same density in smaller voxels is a smaller molecule
        made.append(
            replace(one, voxel_size=voxel_size, resolution=resolution, radius=one.radius * scale, mass=mass)
        )
    return made


def imaged(density: Tensor, voxel_size: float, imaging: Imaging) -> Tensor:
    """Return densities (n, z, y, x) as the tomogram shows them, with missing wedge and contrast transfer, before scaling."""
    size = density.shape[-1]
    vectors = frequency_vectors(size)
    gain = measured(vectors, list(imaging.tilts))
    if imaging.optics is not None:
        gain = gain * contrast_transfer(vectors.norm(dim=-1) / voxel_size, imaging.optics)
    return torch.fft.ifftn(torch.fft.fftn(density, dim=(-3, -2, -1)) * gain, dim=(-3, -2, -1)).real


def protein_contrast(
    volume: NDArray[np.generic],
    voxel_size: float,
    positions: NDArray[np.float64],
    diameters: NDArray[np.float64],
    imaging: Imaging,
) -> float:
    """Return the grey value of solid protein above ice, measured on particles; NaN from fewer than `FEWEST`.

    Parameters
    ----------
    volume
        (z, y, x)
    positions, diameters
        (n, 3) x, y, z voxels and (n,) angstrom of the particles.
    imaging
        Its contrast is not used.

    Notes
    -----
    The difference between the middle of the particles and their surroundings, over that of solid balls of the same
    diameters imaged in the same way. Particles with gaps between their domains give less: molecules are then added too
    weakly rather than too strongly.
    """
    found, expected = [], []
    balls: dict[int, float] = {}
    for position, diameter in zip(positions, diameters / voxel_size, strict=True):
        half = math.ceil(RIM[1] * diameter) + 1
        box = _cut(volume, position, half)
        if box is None:
            continue
        found.append(_core_contrast(box, diameter))
        whole = round(diameter)
        if whole not in balls:
            ball = torch.from_numpy(_radius(half) <= whole / 2).float()
            balls[whole] = _core_contrast(imaged(ball[None], voxel_size, imaging)[0].numpy(), diameter)
        expected.append(balls[whole])
    if len(found) < FEWEST or not np.mean(expected) > 0:
        return math.nan
    return float(np.mean(found) / np.mean(expected))


def _cut(volume: NDArray[np.generic], position: NDArray[np.float64], half: int) -> NDArray[np.float32] | None:
    low = np.rint(position[::-1]).astype(np.int64) - half
    high = low + 2 * half
    if (low < 0).any() or (high > volume.shape).any():
        return None
    window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return np.asarray(volume[window], dtype=np.float32)


def _radius(half: int) -> NDArray[np.float64]:
    axis = np.arange(2 * half) - half
    return np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)


def _core_contrast(box: NDArray[np.float32], diameter: float) -> float:
    radius = _radius(box.shape[0] // 2) / diameter
    core, rim = ((radius >= low) & (radius <= high) for low, high in (CORE, RIM))
    return float(box[core].mean() - box[rim].mean())


def add_particles(
    name: str,
    volume: NDArray[np.generic],
    voxel_size: float,
    mask: NDArray[np.generic] | None,
    occupied: pd.DataFrame,
    phantoms: Sequence[Phantom],
    copies: Sequence[int],
    imaging: Imaging,
    seed: int,
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Add molecules where nothing lies.

    Parameters
    ----------
    name
        Of the tomogram.
    volume, mask
        (z, y, x); molecules are inside the mask, the data and the faces with their whole radius.
    voxel_size
        Angstrom.
    occupied
        Particles and picks with coordinates and diameters, which molecules do not touch.
    phantoms, copies
        Molecules, at the voxel size of the volume, and their numbers.
    imaging
        How the tomogram shows density.
    seed
        Of positions and orientations.

    Returns
    -------
    The volume with molecules, and their true positions, poses and species: fewer than `copies` where the tomogram has no
    free position for more.
    """
    rng = np.random.default_rng([seed, 41])
    region = Region(tuple(volume.shape), find_padding(volume), mask)
    result = np.array(volume, dtype=np.float32)
    taken = [occupied[list(columns.COORDINATES)].to_numpy(float)] if len(occupied) else [np.zeros((0, 3))]
    radii = [occupied[columns.DIAMETER].to_numpy(float) / 2 / voxel_size] if len(occupied) else [np.zeros(0)]
    rows, species, rotations = [], [], []
    for index in sorted(range(len(phantoms)), key=lambda one: -phantoms[one].mass):
        radius = phantoms[index].radius / voxel_size
        places = _free_places(
            region, np.concatenate(taken), np.concatenate(radii), radius, copies[index], rng
        )
        poses = random_rotations(len(places), rng)
        _paste(result, phantoms[index], places, poses, imaging)
        taken.append(places)
        radii.append(np.full(len(places), radius))
        rows.append(places)
        species += [index] * len(places)
        rotations.append(poses)
    truth = _truth(name, np.concatenate(rows), np.array(species, int), rotations, phantoms, voxel_size)
    return result, truth


def _free_places(
    region: Region,
    taken: NDArray[np.float64],
    radii: NDArray[np.float64],
    radius: float,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return up to `count` positions (n, 3) x, y, z in voxels, farther from what is taken than the radii require."""
    size = np.array(region.shape[::-1], float)
    found: list[NDArray[np.float64]] = []
    if (size - 1 <= 2 * radius).any():
        return np.zeros((0, 3))
    tree = cKDTree(taken) if len(taken) else None
    widest = GAP * (radius + (float(radii.max()) if len(radii) else 0.0))
    corners = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])
    corners = corners / np.maximum(np.linalg.norm(corners, axis=1, keepdims=True), 1)
    for _ in range(TRIALS * count):
        if len(found) == count:
            break
        place = rng.uniform(radius, size - 1 - radius)
        near = tree.query_ball_point(place, widest) if tree is not None else []
        if any(np.linalg.norm(taken[one] - place) < GAP * (radius + radii[one]) for one in near):
            continue
        if any(np.linalg.norm(other - place) < GAP * 2 * radius for other in found):
            continue
        around = np.rint(place + radius * corners).astype(np.int64)[:, ::-1]
        if region.holds(around).all():
            found.append(place)
    return np.array(found).reshape(-1, 3)


def _paste(
    volume: NDArray[np.float32],
    one: Phantom,
    places: NDArray[np.float64],
    rotations: Rotation,
    imaging: Imaging,
) -> None:
    renderer = ParticleRenderer([one])
    size = MARGIN * renderer.patch_size
    margin = (size - renderer.patch_size) // 2
    whole = np.rint(places).astype(np.int64)
    for place, start, matrix in zip(places, whole, rotations.as_matrix(), strict=True):
        shift = torch.from_numpy(place - start)[None].float()
        patch = renderer.render(
            torch.zeros(1, dtype=torch.int64), torch.from_numpy(matrix)[None].float(), shift
        )
        box = torch.nn.functional.pad(patch, [margin, size - margin - renderer.patch_size] * 3)
        density = imaging.contrast * imaged(box, one.voxel_size, imaging)[0].numpy()
        low = start[::-1] - renderer.patch_size // 2 - margin
        target, source = overlap_windows(low, density.shape, volume.shape)
        volume[target] += density[source]


def _truth(
    name: str,
    places: NDArray[np.float64],
    species: NDArray[np.int64],
    rotations: Sequence[Rotation],
    phantoms: Sequence[Phantom],
    voxel_size: float,
) -> pd.DataFrame:
    diameters = np.array([2 * phantoms[index].radius for index in species])
    table = pick_table(name, "", places, voxel_size, np.zeros(len(places)), diameters)
    filled = [one for one in rotations if len(one)]
    poses = Rotation.concatenate(filled) if filled else Rotation.identity(0)
    table = table.assign(**pose_columns(poses, np.zeros((len(places), 3))))
    table = table.drop(columns=[columns.MICROGRAPH, columns.PICK_SCORE])
    names = [phantoms[index].name for index in species]
    table[columns.CLASS] = species + 1
    table[SPECIES] = names
    return table
