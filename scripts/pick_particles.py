"""Pick the particles of one tomogram; no particles if the tomogram failed its check and is skipped."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import open_if_usable
from cryopipe.files.star import write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.picking import PickOptions, pick_tomogram
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram, options = Tomogram(**job.params.tomogram), PickOptions(**job.params.pick)
    opened = open_if_usable(tomogram, read_table(job.input.check))
    picks = pick_tomogram(tomogram, opened, options, choose_device(job.config["device"]))
    write_particles(job.output[0], picks)


run(main, snakemake)
