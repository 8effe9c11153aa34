"""Extract the boxes of one tomogram's particles at their centres, without doubles."""

from typing import TYPE_CHECKING, Any

from cryopipe.averaging.doubles import without_doubles
from cryopipe.box_extraction import extract_for_averaging
from cryopipe.files.star import read_particles, write_particles
from cryopipe.job import run
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram = Tomogram(**job.params.tomogram)
    extracted = extract_for_averaging(
        job.output.boxes,
        tomogram,
        without_doubles(read_particles(job.input.particles[0], tomogram.name)),
        SubtomogramOptions(**job.params.subtomograms),
        job.params.ctf,
        job.params.microscope,
        job.params.seed,
        choose_device(job.config["device"]),
    )
    write_particles(job.output.particles, extracted)


run(main, snakemake)
