"""Recall, precision and second picks on simulated tomograms, and the speed of picking beside scipy's filters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from cryopipe.columns import COORDINATES
from cryopipe.picking import PickOptions, pick_particles
from cryopipe.picking.blobs import sigmas_for
from cryopipe.simulation import SimulatedTomogram, SimulationOptions, simulate_tomogram
from cryopipe.simulation.assemblies import AssemblySpec
from cryopipe.simulation.phantoms import Phantom, phantom
from cryopipe.simulation.tomogram import SPECIES as SPECIES_COLUMN

VOXEL, RESOLUTION = 10.0, 25.0
SPECIES = (
    AssemblySpec("globular", "C1", 0.25e6, 1, "compact_a"),
    AssemblySpec("globular", "C1", 0.6e6, 3, "compact_b"),
    AssemblySpec("shell", "O", 1e6, 8, "hollow_a"),
    AssemblySpec("globular", "C1", 2.5e6, 2, "compact_c"),
    AssemblySpec("shell", "O", 4e6, 5, "hollow_b"),
)
SEEDS, SNRS = (1, 2, 3), (1.0, 0.3)
TOMOGRAM = SimulationOptions(
    size=(200, 200, 80), voxel_size=VOXEL, resolution=RESOLUTION, copies=6, crowding=0.2, vesicles=1, gold=2
)
PADDED = 40
"""Voxels; edge of the padded triangles in two corners."""
SETTINGS = {
    "one diameter, 240 A, threshold 3": PickOptions(diameters=[240.0], threshold=3.0),
    "one diameter, 180 A, threshold 3.5": PickOptions(diameters=[180.0], threshold=3.5),
    "120, 180, 240, 320 A, threshold 4": PickOptions(diameters=[120.0, 180.0, 240.0, 320.0], threshold=4.0),
    "120, 180, 240, 320 A, threshold 5": PickOptions(diameters=[120.0, 180.0, 240.0, 320.0], threshold=5.0),
}
NEAR = 0.6
"""Largest distance of a pick from the centre of its particle, fraction of the radius that holds 90 % of its mass."""
TIMED = (40.0, 80.0, 160.0, 240.0)
TIMED_SHAPE = (100, 300, 300)
PAGE_HEADING = """# Picking

`snakemake -s benchmarks/Snakefile --cores 1 --force benchmark_picking` measures picking on tomograms that it simulates, and
writes this page: five species, crowded by small proteins to 20 % of the volume, with a vesicle, gold beads, and padding in
two corners; voxels of 10 A, no correction of the contrast transfer function, three tomograms for each signal-to-noise ratio.

- *Recall*: particles with a pick within 0.6 of the radius that holds 90 % of their mass. *Precision*: such particles over all
  picks. *Second picks*: further picks inside a particle, over all picks.
- *Random*: the same number of picks as the line above, at random places outside the padding.
"""


def simulated(seed: int, snr: float) -> tuple[SimulatedTomogram, NDArray[np.float32]]:
    """Return a tomogram with its truth, and its volume with padding in two corners."""
    made = simulate_tomogram(replace(TOMOGRAM, snr=snr), seed, f"picking_{seed}", species=_phantoms())
    volume = made.volume.copy()
    _, height, width = volume.shape
    y, x = np.indices((height, width))
    volume[:, (x + y < PADDED) | (x + y > height + width - 2 - PADDED)] = 0
    return made, volume


def _phantoms() -> list[Phantom]:
    return [phantom(spec, VOXEL, RESOLUTION) for spec in SPECIES]


def radii_of(species: Sequence[Phantom]) -> dict[str, float]:
    """Return the radius, angstrom, that holds 90 % of the mass of each species."""
    radii = {}
    for one in species:
        z, y, x = np.indices(one.density.shape) - one.density.shape[0] // 2
        radius = np.sqrt(z**2 + y**2 + x**2).ravel()
        order = np.argsort(radius)
        mass = np.cumsum(one.density.ravel()[order])
        radii[one.name] = float(radius[order][np.argmax(mass > 0.9 * mass[-1])] * VOXEL)
    return radii


def score(
    places: NDArray[np.float64], centres: NDArray[np.float64], radii: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], int]:
    """Return which particles are found, and the number of second picks; all lengths in angstrom, points x, y, z."""
    apart = np.linalg.norm(places[:, None] - centres, axis=2) / radii
    nearest = apart.argmin(axis=1)
    smallest = apart.min(axis=1)
    found = np.zeros(len(centres), dtype=bool)
    found[nearest[smallest < NEAR]] = True
    return found, int((smallest < 1).sum() - found.sum())


def measure_picks() -> pd.DataFrame:
    """Return scores over the seeds: a row per signal-to-noise ratio and setting, and one for random picks after each."""
    rows = []
    for snr in SNRS:
        tomograms = [simulated(seed, snr) for seed in SEEDS]
        for name, options in SETTINGS.items():
            picked = [pick_particles(volume, VOXEL, options, "dark").coordinates for _, volume in tomograms]
            for random in (False, True):
                if random:
                    picked = [
                        _random_places(volume, len(places), number)
                        for number, ((_, volume), places) in enumerate(zip(tomograms, picked, strict=True))
                    ]
                row = {"SNR": snr, "picks": "random" if random else name}
                rows.append(row | _scores(tomograms, picked))
    return pd.DataFrame(rows)


def _random_places(volume: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float64]:
    known = np.argwhere(volume != 0)[:, ::-1]
    return known[np.random.default_rng(seed).integers(0, len(known), count)].astype(float)


def _scores(
    tomograms: Sequence[tuple[SimulatedTomogram, NDArray[np.float32]]], picked: Sequence[NDArray[np.float64]]
) -> dict[str, float]:
    found, names, second = [], [], 0
    for (made, volume), places in zip(tomograms, picked, strict=True):
        centres = made.truth[list(COORDINATES)].to_numpy(float)
        edge = np.array(volume.shape)[::-1] - 1
        z, y, x = np.clip(np.rint(centres), 0, edge).astype(int)[:, ::-1].T
        inside = volume[z, y, x] != 0
        species, radii = made.truth[SPECIES_COLUMN].to_numpy(str)[inside], radii_of(made.species)
        sizes = np.array([radii[name] for name in species])
        hits, again = score(places * VOXEL, centres[inside] * VOXEL, sizes)
        found.append(hits)
        names.append(species)
        second += again
    hits, species, count = np.concatenate(found), np.concatenate(names), sum(map(len, picked))
    row = {
        "n": count,
        "recall": hits.mean(),
        "precision": hits.sum() / max(1, count),
        "second picks": second / max(1, count),
    }
    return row | {spec.name: hits[species == spec.name].mean() for spec in SPECIES}


def measure_speed() -> pd.DataFrame:
    """Return seconds on one thread: of picking, and of scipy's two Gaussian filters and maximum filter."""
    volume = np.random.default_rng(0).normal(0, 20, TIMED_SHAPE).astype(np.float32)
    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for diameter in TIMED:
            start = time.process_time()
            pick_particles(volume, VOXEL, PickOptions(diameters=[diameter]), "dark")
            middle = time.process_time()
            narrow, wide = (gaussian_filter(volume, sigma) for sigma in sigmas_for(diameter / VOXEL))
            response = narrow - wide
            np.count_nonzero(maximum_filter(response, 3) == response)
            end = time.process_time()
            rows.append({"diameter": diameter, "cryopipe": middle - start, "scipy": end - middle})
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(rows)


def section(picks: pd.DataFrame, speed: pd.DataFrame, hardware: str) -> str:
    """Return the text of the page below its heading."""
    names = [spec.name for spec in SPECIES]
    sizes = {name: 2 * radius for name, radius in radii_of(_phantoms()).items()}
    lines = [
        f"Radii hold 90 % of the mass; diameters: {', '.join(f'{name} {sizes[name]:.0f} A' for name in names)}. "
        f"Seeds {', '.join(map(str, SEEDS))}.",
        "",
        "| SNR | picks | number | recall | precision | second picks | " + " | ".join(names) + " |",
        "|" + "---|" * (6 + len(names)),
    ]
    for row in picks.to_dict("records"):
        values = [f"{row[key]:.2f}" for key in ("recall", "precision", "second picks", *names)]
        lines.append(f"| {row['SNR']:g} | {row['picks']} | {row['n']} | " + " | ".join(values) + " |")
    lines += ["", f"Processor seconds on one thread of {hardware}, noise of {' x '.join(map(str, TIMED_SHAPE))} voxels of 10 A:",
              "", "| diameter (A) | cryopipe | scipy: two Gaussian filters and a maximum filter | ratio |", "|---|---|---|---|"]  # fmt: skip
    for row in speed.to_dict("records"):
        ratio = row["scipy"] / row["cryopipe"]
        lines.append(f"| {row['diameter']:g} | {row['cryopipe']:.2f} | {row['scipy']:.2f} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"
