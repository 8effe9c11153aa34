"""Pick the particles of one tomogram, or take those made elsewhere; no particles if the tomogram failed its check and is skipped."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import open_if_usable
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.live.progress_page import PICTURES
from cryopipe.picking import PickOptions, given_picks, pick_tomogram
from cryopipe.report.first_pictures import write_pick_picture
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram, options = Tomogram(**job.params.tomogram), PickOptions(**job.params.pick)
    if options.particles is not None:
        picks = given_picks(
            read_particles(job.input.given[0], tomogram.name), tomogram.name, options.particles
        )
    else:
        opened = open_if_usable(tomogram, read_table(job.input.check))
        picks = pick_tomogram(tomogram, opened, options, choose_device(job.config["device"]))
        if opened is not None:
            write_pick_picture(PICTURES / f"picks_{tomogram.name}.jpg", opened, picks)
    write_particles(job.output[0], picks)


run(main, snakemake)
