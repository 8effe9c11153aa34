"""Extract, rescale and normalise the boxes of one tomogram's particles."""

from typing import TYPE_CHECKING, Any

from cryopipe.box_extraction import write_subtomograms
from cryopipe.files.star import read_particles, write_particles
from cryopipe.job import run
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    extracted = write_subtomograms(
        job.output.boxes,
        Tomogram(**job.params.tomogram),
        read_particles(job.input.particles),
        SubtomogramOptions(**job.params.subtomograms),
        job.params.seed,
        choose_device(job.config["device"]),
    )
    write_particles(job.output.particles, extracted)


run(main, snakemake)
