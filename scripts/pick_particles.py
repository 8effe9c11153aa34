"""Pick the particles of one tomogram; one that failed its check, and is to be skipped, has none."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe import columns
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.picking import PickOptions, Picks, pick_particles
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram = Tomogram(**job.params.tomogram)
    if (read_table(job.input.check)["status"] == "bad").any():
        picks, voxel_size = Picks.none(), tomogram.voxel_size or 0.0
    else:
        opened = open_tomogram(tomogram)
        voxel_size = opened.voxel_size
        picks = pick_particles(
            opened.volume,
            voxel_size,
            PickOptions(**job.params.pick),
            tomogram.contrast,
            opened.mask,
            device=choose_device(job.config["device"]),
            name=tomogram.name,
        )
    table = pd.DataFrame(picks.coordinates, columns=list(columns.COORDINATES))
    table.insert(0, columns.TOMOGRAM, tomogram.name)
    table.insert(1, columns.MICROGRAPH, tomogram.path)
    table.insert(2, columns.PARTICLE, [f"{tomogram.name}/{number + 1}" for number in range(len(picks))])
    table[columns.VOXEL_SIZE] = voxel_size
    table[columns.PICK_SCORE] = picks.scores
    table[columns.DIAMETER] = picks.diameters
    write_particles(job.output[0], table)


run(main, snakemake)
