"""Apply the user's decisions to the clusters; without decisions, the clusters stay as they were found."""

from typing import TYPE_CHECKING, Any

from cryopipe.curation import curate
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    curated = curate(read_particles(job.input.found), job.params.curation, job.input.features)
    write_particles(job.output.particles, curated.particles)
    write_table(job.output.decisions, curated.outcomes)
    write_table(job.output.clusters, curated.clusters)


run(main, snakemake)
