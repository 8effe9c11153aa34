"""Datasets with added molecules: copies of a dataset's tomograms, with the truth and a configuration of their own."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.errors import SimulationError
from cryopipe.evidence.added_molecules import Imaging, add_particles, protein_contrast
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.particles import positions_of_table
from cryopipe.simulation import Phantom
from cryopipe.simulation.optics import Optics
from cryopipe.simulation.tomogram import seed_for
from cryopipe.tomograms import Tomogram
from cryopipe.volume.statistics import single_precision

logger = logging.getLogger(__name__)

INTERACTION = 6.53e-4
"""Radian per volt and angstrom, at 300 kV."""
POTENTIAL = 2.0
"""Volt; mean inner potential of protein less that of vitreous ice."""
TRANSFER = 0.6
"""Mean absolute contrast transfer where the defocus is unknown."""
DOSE = 120.0
"""Electrons per square angstrom of a tilt series whose dose is unknown."""
SAMPLE = 2_000_000
"""Voxels of which the noise is measured."""


@dataclass(frozen=True)
class Spiked:
    """What was added to one tomogram.

    Attributes
    ----------
    tomogram
        Its row, with the path of the new volume.
    truth
        See `add_particles`.
    contrast
        Grey value of solid protein above ice that was used.
    noise
        Median absolute deviation of the volume, as a standard deviation.
    measured_on
        "particles", "dose" or "given": what the contrast follows from.
    """

    tomogram: Tomogram
    truth: pd.DataFrame
    contrast: float
    noise: float
    measured_on: str


def spike_tomogram(
    tomogram: Tomogram,
    found: Sequence[pd.DataFrame],
    real: pd.DataFrame,
    phantoms: Sequence[Phantom],
    copies: Sequence[int],
    microscope: Mapping[str, float],
    corrected: bool,
    volume_path: Path,
    seed: int,
    contrast: float | None = None,
) -> Spiked:
    """Write a copy of a tomogram with added molecules; the original is only read.

    Parameters
    ----------
    tomogram
        The original, with a path that can be opened.
    found
        Tables of picks and particles, which molecules do not touch.
    real
        Particles of clusters with the verdict particle, on which the contrast is measured; may be empty.
    phantoms, copies
        Molecules at the voxel size of the tomogram, and their numbers.
    microscope
        Voltage (kV), spherical_aberration (mm) and amplitude_contrast.
    corrected
        Whether the contrast transfer function of the tomograms is corrected.
    volume_path
        The new file.
    seed
        Of positions and orientations.
    contrast
        Contrast of solid protein in standard deviations of the noise; None: measured on the particles, or, without
        enough of them, from the dose.
    """
    opened = open_tomogram(tomogram)
    volume = single_precision(opened.volume)
    optics = None
    if tomogram.defocus is not None and not corrected:
        optics = Optics(
            microscope["voltage"],
            microscope["spherical_aberration"],
            microscope["amplitude_contrast"],
            tomogram.defocus,
        )
    imaging = Imaging(tomogram.tilts, optics, 1.0)
    noise = noise_of(volume)
    grey, source = _contrast(volume, opened.voxel_size, real, imaging, noise, tomogram, contrast)
    occupied = pd.concat(
        [
            one[[*columns.COORDINATES, columns.DIAMETER]]
            for one in (_at_positions(table) for table in found)
            if len(one)
        ]
        or [pd.DataFrame(columns=[*columns.COORDINATES, columns.DIAMETER])],
        ignore_index=True,
    )
    spiked, truth = add_particles(
        tomogram.name,
        volume,
        opened.voxel_size,
        opened.mask,
        occupied,
        phantoms,
        copies,
        replace(imaging, contrast=grey),
        seed_for(seed, tomogram.name),
    )
    write_volume(volume_path, spiked, opened.voxel_size)
    logger.info(
        "%s: %d molecules, contrast of protein %.3g (%.2f of the noise, from %s)",
        tomogram.name,
        len(truth),
        grey,
        abs(grey) / noise,
        source,
    )
    return Spiked(replace(tomogram, path=str(volume_path)), truth, grey, noise, source)


def _at_positions(table: pd.DataFrame) -> pd.DataFrame:
    if not len(table):
        return table
    voxels = positions_of_table(table) / table[[columns.VOXEL_SIZE]].to_numpy(float)
    return table.assign(**dict(zip(columns.COORDINATES, voxels.T, strict=True)))


def noise_of(volume: np.ndarray) -> float:
    """Return the median absolute deviation of a volume (z, y, x), as a standard deviation."""
    values = volume.reshape(-1)[:: max(1, volume.size // SAMPLE)]
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _contrast(
    volume: np.ndarray,
    voxel_size: float,
    real: pd.DataFrame,
    imaging: Imaging,
    noise: float,
    tomogram: Tomogram,
    given: float | None,
) -> tuple[float, str]:
    sign = -1.0 if tomogram.contrast == "dark" else 1.0
    if given is not None:
        return sign * given * noise, "given"
    if len(real):
        placed = _at_positions(real)
        positions = placed[list(columns.COORDINATES)].to_numpy(float)
        diameters = placed[columns.DIAMETER].to_numpy(float)
        measured = protein_contrast(volume, voxel_size, positions, diameters, imaging)
        if math.isfinite(measured) and measured * sign > 0:
            return measured, "particles"
    factor = 1.0 if imaging.optics is not None else TRANSFER
    return sign * factor * noise * contrast_to_noise(voxel_size, tomogram), "dose"


def contrast_to_noise(voxel_size: float, tomogram: Tomogram) -> float:
    """Return the contrast of solid protein against ice over the shot noise of a voxel, from the dose.

    Notes
    -----
    Protein shifts the phase by 2 sigma V per angstrom times the transfer function. By the Fourier slice theorem,
    reconstructed shot noise has the power theta k / D at frequency k, with the tilt range theta (radian) and the dose D;
    up to Nyquist q, its variance is pi theta q^4 / D.
    """
    low, high = tomogram.tilt_range
    dose = tomogram.dose or DOSE
    noise = math.sqrt(math.pi * math.radians(high - low) / dose) * (0.5 / voxel_size) ** 2
    return 2 * INTERACTION * POTENTIAL / noise


def finished_tables(dataset: Path, name: str) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Return the picks and particles of one tomogram in a finished run, and those of clusters with the verdict particle.

    Raises
    ------
    SimulationError
        If the tomogram has no picks: what lies in it is then unknown.
    """
    picks = dataset / "results" / "picks" / f"{name}.star"
    if not picks.is_file():
        raise SimulationError(
            f"has no picks of tomogram {name}, so that free places are unknown",
            file=dataset,
            remedy="run the workflow in it first",
        )
    tables = [read_particles(picks)]
    aligned = dataset / "results" / "averages" / "particles.star"
    verdicts = dataset / "results" / "averages" / "clusters.tsv"
    if not (aligned.is_file() and verdicts.is_file()):
        return tables, pd.DataFrame()
    particles = read_particles(aligned)
    particles = particles[particles[columns.TOMOGRAM] == name] if len(particles) else particles
    rows = pd.read_csv(verdicts, sep="\t")
    sizes = {
        int(row["cluster"]): float(row["diameter"])
        for row in rows.to_dict("records")
        if row["verdict"] == "particle" and math.isfinite(row["diameter"])
    }
    if not len(particles):
        return tables, particles
    real = particles[particles[columns.CLASS].isin(sizes)]
    return [*tables, particles], real.assign(**{columns.DIAMETER: real[columns.CLASS].map(sizes)})


def write_truth(folder: Path, spiked: Sequence[Spiked], phantoms: Sequence[Phantom]) -> None:
    """Write the truth, the true maps, and `spike.tsv` with the contrast of each tomogram."""
    write_particles(folder / "truth.star", pd.concat([one.truth for one in spiked], ignore_index=True))
    for one in phantoms:
        write_volume(folder / "maps" / f"{one.name}.mrc", one.density, one.voxel_size)
    rows = [
        [
            one.tomogram.name,
            len(one.truth),
            one.contrast,
            one.noise,
            abs(one.contrast) / one.noise,
            one.measured_on,
        ]
        for one in spiked
    ]
    names = ["tomogram", "molecules", "contrast", "noise", "contrast_to_noise", "measured_on"]
    write_table(folder / "spike.tsv", pd.DataFrame(rows, columns=names))


def changed_config(config: Mapping[str, Any], dataset: Path) -> dict[str, Any]:
    """Return a user's configuration for the copy: truth added, decisions and given particles left out, paths absolute."""
    changed = {key: _absolute(value, dataset) for key, value in config.items() if key != "curation"}
    changed["tomograms"] = "config/tomograms.tsv"
    changed["pick"] = {**(changed.get("pick") or {}), "particles": None}
    changed["evaluation"] = {**(changed.get("evaluation") or {}), "truth": "truth.star", "maps": "maps"}
    return changed


def _absolute(value: Any, dataset: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _absolute(one, dataset) for key, one in value.items()}
    if isinstance(value, str) and "/" in value and (dataset / value.split("{")[0]).exists():
        return str(dataset.absolute() / value)
    return value
