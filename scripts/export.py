"""Write the particles for other software, and verify every file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.check import is_usable
from cryopipe.export import export_context, export_particles, gather_particles
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomograms = [
        Tomogram(**row)
        for row, check in zip(job.params.tomograms, job.input.checks, strict=True)
        if is_usable(read_table(check))
    ]
    averages = read_averages(job.input.averages, tables=False)
    context = export_context(tomograms, averages, job.params.options, [job.wildcards.format])
    clusters = [read_particles(path) for path in job.input.clusters]
    particles = gather_particles(read_particles(job.input.particles), clusters)
    results = Path(job.output[0]).parent.parent
    write_table(job.output[0], export_particles(particles, context, results))


run(main, snakemake)
