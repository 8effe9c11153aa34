"""Simulation of tomograms with known truth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.columns import ANGLES, CLASS, COORDINATES, DIAMETER, ORIGINS, PARTICLE, TOMOGRAM, VOXEL_SIZE
from cryopipe.errors import SimulationError
from cryopipe.simulation.maps import read_maps
from cryopipe.simulation.optics import tilt_angles
from cryopipe.simulation.options import SimulationOptions
from cryopipe.simulation.phantoms import EXAMPLES, Phantom, phantom
from cryopipe.simulation.scene import Scene, build_scene
from cryopipe.simulation.tilt_series import TiltSeries
from cryopipe.volume.geometry import relion_angles

logger = logging.getLogger(__name__)

SPECIES = "cryopipeSpecies"
"""Column with the name of the particle's true species."""


@dataclass(frozen=True)
class SimulatedTomogram:
    """Simulated tomogram and its truth.

    Attributes
    ----------
    volume
        (z, y, x) float32, mean 0 and standard deviation 1, with the requested contrast.
    voxel_size
        Angstrom.
    truth
        One row per particle: name, position, RELION's angles, class number from 1 and species.
    labels
        (z, y, x) int16; see `Scene`.
    measured_snr
        Median signal variance over mean noise variance inside the particles' bounding spheres.
    species
        The true maps, in the order of the class numbers.
    protein_fraction
        Fraction of the volume filled by protein.
    """

    volume: NDArray[np.float32]
    voxel_size: float
    truth: pd.DataFrame
    labels: NDArray[np.int16]
    measured_snr: float
    species: list[Phantom]
    protein_fraction: float


def make_species(options: SimulationOptions) -> list[Phantom]:
    """Return the species named in the options.

    A name is one of `EXAMPLES` or `phantom_SEED`; the maps of the directory `maps` follow.

    Raises
    ------
    SimulationError
        If a species is unknown or named twice.
    """
    made: list[Phantom] = []
    for name in options.species:
        seed = name.removeprefix("phantom_")
        if name in EXAMPLES:
            made.append(phantom(EXAMPLES[name], options.voxel_size, options.resolution))
        elif name != seed and seed.isdecimal():
            made.append(phantom(int(seed), options.voxel_size, options.resolution))
        else:
            raise SimulationError(
                f"unknown species {name!r}", remedy=f"use {', '.join(EXAMPLES)}, or phantom_N with a number N"
            )
    if options.maps:
        made += read_maps(options.maps, options.voxel_size, options.resolution)
    names = [one.name for one in made]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SimulationError(f"species {twice} is named twice", remedy="remove or rename one of the two")
    return made


def simulate_tomogram(
    options: SimulationOptions,
    seed: int,
    name: str = "tomogram",
    device: torch.device | str = "cpu",
    species: Sequence[Phantom] | None = None,
) -> SimulatedTomogram:
    """Simulate a tomogram: specimen, tilt series, noise, weighted back-projection.

    Parameters
    ----------
    options
        Contents and imaging.
    seed
        Seed of positions, orientations and noise; the same seed gives identical bytes.
    name
        Name of the tomogram in the truth table.
    device
        Device of the simulation.
    species
        Species used instead of those named in the options.

    Returns
    -------
    The tomogram and its truth.

    Raises
    ------
    SimulationError
        If a species is unknown or the contents do not fit.
    """
    device = torch.device(device)
    species = make_species(options) if species is None else list(species)
    scene = build_scene(species, options, seed, device)
    signal, noise = _reconstruct(scene, options, seed, device)
    variances = sphere_variances(signal, noise, scene)
    if len(variances):
        factor = float(np.sqrt(_ratio(variances) / options.snr))
    else:
        # Without particles, the SNR refers to the variance of the whole volume.
        factor = float(signal.std() / noise.std()) / np.sqrt(options.snr) if float(signal.std()) > 0 else 1.0
    measured, by_species = _snr(variances, scene, factor)
    volume = signal.add_(noise, alpha=factor)
    volume = (volume - volume.mean()) / volume.std(correction=0)
    if options.contrast == "dark":
        volume = -volume
    logger.info(
        "%s: %d particles of %d species, protein %.1f %% of the volume, SNR %.3f (requested: %g); %s",
        name, len(scene.species), len(species), 100 * scene.protein_fraction, measured, options.snr,
        ", ".join(f"{key} {value:.3f}" for key, value in by_species.items()),
    )  # fmt: skip
    return SimulatedTomogram(
        volume=volume.cpu().numpy(),
        voxel_size=options.voxel_size,
        truth=truth_table(scene, options.voxel_size, name),
        labels=scene.labels,
        measured_snr=measured,
        species=species,
        protein_fraction=scene.protein_fraction,
    )


def sphere_variances(signal: Tensor, noise: Tensor, scene: Scene) -> NDArray[np.float64]:
    """Return (m, 2) variances of the signal and of the noise inside each particle's bounding sphere."""
    rows = []
    for position, index in zip(scene.positions, scene.species, strict=True):
        one = scene.phantoms[int(index)]
        radius = one.radius / one.voxel_size
        centre = position[::-1]
        low = np.maximum(0, np.ceil(centre - radius)).astype(int)
        high = np.minimum(signal.shape, np.floor(centre + radius).astype(int) + 1)
        window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        axes = [
            torch.arange(int(a), int(b), dtype=torch.float64) - c
            for a, b, c in zip(low, high, centre, strict=True)
        ]
        square = axes[0].square()[:, None, None] + axes[1].square()[:, None] + axes[2].square()
        inside = (square <= radius**2).to(signal.device)
        rows.append([float(volume[window][inside].var(correction=0)) for volume in (signal, noise)])
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def truth_table(scene: Scene, voxel_size: float, name: str) -> pd.DataFrame:
    """Return the particles in RELION's conventions, one row each, in the order of their classes."""
    angles = relion_angles(scene.rotations) if len(scene.species) else np.zeros((0, 3))
    table = pd.DataFrame({TOMOGRAM: [name] * len(scene.species)})
    table[PARTICLE] = [f"{name}/{number}" for number in range(1, len(scene.species) + 1)]
    for column, values in zip(COORDINATES, scene.positions.T, strict=True):
        table[column] = values
    for column, values in zip(ANGLES, angles.T, strict=True):
        table[column] = values
    for column in ORIGINS:
        table[column] = 0.0
    table[CLASS] = scene.species + 1
    table[SPECIES] = [scene.phantoms[int(index)].name for index in scene.species]
    table[DIAMETER] = [2 * scene.phantoms[int(index)].radius for index in scene.species]
    table[VOXEL_SIZE] = voxel_size
    return table


def _reconstruct(
    scene: Scene, options: SimulationOptions, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the reconstructions of the specimen and of the noise, to be scaled by the SNR."""
    angles = tilt_angles((options.tilt_range[0], options.tilt_range[-1]), options.tilt_step)
    rng = np.random.default_rng([seed, 12])
    series = TiltSeries(
        shape_zyx=options.shape_zyx,
        voxel_size=options.voxel_size,
        angles=angles,
        optics=options.optics,
        device=device,
        angle_errors=options.angle_error * rng.standard_normal(len(angles)),
        shift_errors=options.shift_error * rng.standard_normal((len(angles), 2)),
    )
    signal = series.back_project(series.project(torch.as_tensor(scene.density, device=device)))
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    images = (1 - options.structural_noise) ** 0.5 * _unit_power(series, series.white_images(generator))
    if options.structural_noise > 0:
        density = torch.randn(options.shape_zyx, generator=generator, device=device)
        images += options.structural_noise**0.5 * _unit_power(series, series.project(density))
    return signal, series.back_project(images)


def _unit_power(series: TiltSeries, images: Tensor) -> Tensor:
    return images / series.weighted_power(images) ** 0.5


def _snr(variances: NDArray[np.float64], scene: Scene, factor: float) -> tuple[float, dict[str, float]]:
    """Return the SNR of all particles and of each species, with the noise multiplied by `factor`."""
    by_species = {
        one.name: _ratio(variances[scene.species == index]) / factor**2
        for index, one in enumerate(scene.phantoms)
    }
    return _ratio(variances) / factor**2, by_species


def _ratio(variances: NDArray[np.float64]) -> float:
    """Return the particles' median signal variance over their mean noise variance; NaN without particles.

    The median, because streaks of a gold bead can multiply the variance of its neighbours by a hundred.
    """
    if not len(variances):
        return float("nan")
    return float(np.median(variances[:, 0]) / variances[:, 1].mean())


def seed_for(seed: int, name: str) -> int:
    """Return the seed of a tomogram, derived from the run's seed and the tomogram's name."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint32)[0])
