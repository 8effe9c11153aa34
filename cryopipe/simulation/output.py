"""Writing of simulated tomograms and their truth."""

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
    """Write a simulated tomogram and its truth.

    Parameters
    ----------
    simulated
        Tomogram and truth.
    volume, labels
        MRC files of the tomogram and of its label volume.
    truth
        STAR file of the particles.
    maps
        Directory of the true maps, one MRC file per species, named after it. Tomograms with the same
        species write identical files.
    """
    write_volume(volume, simulated.volume, simulated.voxel_size)
    write_volume(labels, simulated.labels, simulated.voxel_size)
    table = simulated.truth.copy()
    table.insert(1, MICROGRAPH, str(volume))
    write_particles(truth, table)
    for one in simulated.species:
        write_volume(Path(maps) / f"{one.name}.mrc", one.density, one.voxel_size)
