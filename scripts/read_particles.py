"""Read the particles of the option pick.particles, for all tomograms."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import usable_tomograms
from cryopipe.export import export_context
from cryopipe.export.given_particles import read_given_particles
from cryopipe.files.star import write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    rows = (Tomogram(**row) for row in job.params.tomograms)
    tomograms = usable_tomograms(rows, map(read_table, job.input.checks))
    context = export_context(tomograms, {}, job.params.options)
    pick = job.params.options["pick"]
    write_particles(job.output[0], read_given_particles(pick["particles"], context, pick["diameters"][0]))


run(main, snakemake)
