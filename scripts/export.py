"""Write the particles for other software, and verify every file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.averaging.verdicts import recognised_clusters
from cryopipe.check import usable_tomograms
from cryopipe.export import export_context, export_particles, gather_particles
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    rows = (Tomogram(**row) for row in job.params.tomograms)
    tomograms = usable_tomograms(rows, map(read_table, job.input.checks))
    averages = read_averages(job.input.averages, tables=False)
    context = export_context(tomograms, averages, job.params.options, [job.wildcards.format])
    aligned = [read_particles(path) for path in job.input.clusters]
    particles = gather_particles(read_particles(job.input.particles), aligned)
    recognised = recognised_clusters(read_table(job.input.verdicts))
    results = Path(job.output[0]).parent.parent
    write_table(job.output[0], export_particles(particles, context, results, recognised))


run(main, snakemake)
