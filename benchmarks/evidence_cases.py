"""Simulated tomograms with and without particles in which classes are compared with decoys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe.evidence.added_molecules import Imaging, add_particles, spike_phantoms
from cryopipe.files.mrc import write_volume
from cryopipe.simulation import SimulationOptions, simulate_tomogram
from cryopipe.tomograms import Tomogram

VOXEL = 13.33
TILTS = (-60.0, 60.0)
BALL = 0.73
"""Radius in angstrom of a molecule of 1 dalton, a tenth larger than a solid ball."""
PICKED = (160.0, 240.0)
"""Smallest and largest picking diameter, angstrom."""
PLANTED = "molecules in noise"
WHITE, GOLD, MEMBRANES = "noise", "gold and ice", "membranes"
NULL_RUNS = {"reduced": 3, "full": 20}
SIZE = {10: (128, 128, 64), 30: (128, 128, 64), 100: (192, 192, 64), 300: (256, 256, 80)}
"""Voxels of a tomogram by the copies of each species in it."""
MASSES = ((4000.0, 500.0), (1500.0, 150.0), (500.0, 50.0))
CONTRASTS = (0.7, 0.4)


@dataclass(frozen=True)
class Case:
    """A tomogram to analyse.

    Attributes
    ----------
    name
        Of the row of the table.
    simulation
        Its contents; None for noise, with molecules if there are any.
    size
        Voxels along x, y, z.
    masses
        Kilodalton; of globular molecules added to the noise.
    copies
        Of each of them.
    contrast
        Of solid protein above ice, over the standard deviation of the noise per voxel of `VOXEL`.
    diameter
        Of the picking filter, angstrom.
    """

    name: str
    simulation: SimulationOptions | None
    size: tuple[int, int, int]
    masses: tuple[float, ...] = ()
    copies: int = 0
    contrast: float = 0.0
    diameter: float = 240.0


def species_name(mass: float) -> str:
    """Return the name of added molecules of a mass in kilodalton."""
    return f"spike_{mass:g}kDa"


def null_cases(size: tuple[int, int, int]) -> list[Case]:
    """Return the cases without particles."""
    empty = SimulationOptions(size=size, voxel_size=VOXEL, copies=0, vesicles=0, tilt_step=6.0)
    return [
        Case(WHITE, None, size),
        Case(GOLD, replace(empty, gold=8), size),
        Case(MEMBRANES, replace(empty, vesicles=1, sheets=1), size),
    ]


def planted_case(masses: Sequence[float], copies: int, contrast: float, size: tuple[int, int, int]) -> Case:
    """Return a case with particles, which are searched for by the size of the heaviest."""
    width = 2 * BALL * (1000 * max(masses)) ** (1 / 3)
    return Case(PLANTED, None, size, tuple(masses), copies, contrast, float(np.clip(width, *PICKED)))


def cases_of(size: str) -> list[tuple[Case, int]]:
    """Return the cases of a benchmark, `reduced` or `full`, each with its seed; those of a sort are spread over the list."""
    runs, found = NULL_RUNS[size], []
    copies = list(SIZE) if size == "full" else list(SIZE)[:2]
    for seed in range(1, runs + 1):
        found += [(case, seed) for case in null_cases(SIZE[10])]
        for number in range(3 * seed - 3, 3 * seed):
            masses = MASSES[number % len(MASSES)]
            chosen = copies[number // len(MASSES) % len(copies)]
            contrast = CONTRASTS[number // (len(MASSES) * len(copies)) % len(CONTRASTS)]
            found.append((planted_case(masses, chosen, contrast, SIZE[chosen]), number + 1))
    return found


def made_tomogram(case: Case, seed: int, folder: Path) -> tuple[Tomogram, pd.DataFrame]:
    """Write the tomogram of a case into a folder; return its row and the true particles, none in noise alone."""
    path, truth = folder / "a.mrc", pd.DataFrame()
    if case.simulation is not None:
        made = simulate_tomogram(case.simulation, seed, "a")
        volume, truth = made.volume, made.truth
    else:
        volume = _noise(case.size, seed)
        if case.masses:
            phantoms = spike_phantoms([1000 * mass for mass in case.masses], VOXEL, seed)
            imaging = Imaging(TILTS, None, -case.contrast)
            copies = [case.copies] * len(phantoms)
            nothing = pd.DataFrame()
            volume, truth = add_particles("a", volume, VOXEL, None, nothing, phantoms, copies, imaging, seed)
    write_volume(path, volume, VOXEL)
    return Tomogram("a", str(path), VOXEL), truth


def _noise(size: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Return white noise of standard deviation 1 inside the missing wedge of the tilts."""
    x, y, z = size
    noise = np.random.default_rng(seed).standard_normal((z, y, x), np.float32)
    along_z, along_x = np.fft.fftfreq(z)[:, None], np.fft.rfftfreq(x)[None, :]
    tilt = np.degrees(np.arctan2(np.abs(along_z), np.abs(along_x)))
    inside = (tilt <= max(TILTS))[:, None, :]
    volume = np.fft.irfftn(np.fft.rfftn(noise) * inside, noise.shape, axes=(0, 1, 2))
    return (volume / volume.std()).astype(np.float32)
