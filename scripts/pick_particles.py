"""Pick the particles of one tomogram; no particles if the tomogram failed its check and is skipped."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import is_usable
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.particles import pick_table
from cryopipe.picking import PickOptions, Picks, pick_particles
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram = Tomogram(**job.params.tomogram)
    if not is_usable(read_table(job.input.check)):
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
    found = (picks.coordinates, voxel_size, picks.scores, picks.diameters)
    write_particles(job.output[0], pick_table(tomogram.name, tomogram.path, *found))


run(main, snakemake)
