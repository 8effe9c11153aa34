"""A simulated tomogram as files."""

from __future__ import annotations

from pathlib import Path

from cryopipe.columns import MICROGRAPH
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles
from cryopipe.simulation.tomogram import SimulatedTomogram


def write_tomogram(
    simulated: SimulatedTomogram,
    volume: str | Path,
    truth: str | Path,
    labels: str | Path,
    maps: str | Path,
) -> None:
    """Write a tomogram with all that is known about it.

    Parameters
    ----------
    simulated
        The tomogram.
    volume, labels
        MRC files of the tomogram and of its label volume.
    truth
        STAR file of the particles.
    maps
        Directory of the true maps, one MRC file per species and named as it. Tomograms of the same
        species write the same bytes there.
    """
    write_volume(volume, simulated.volume, simulated.voxel_size)
    write_volume(labels, simulated.labels, simulated.voxel_size)
    table = simulated.truth.copy()
    table.insert(1, MICROGRAPH, str(volume))
    write_particles(truth, table)
    for one in simulated.species:
        write_volume(Path(maps) / f"{one.name}.mrc", one.density, one.voxel_size)
