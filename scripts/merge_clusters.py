"""Gather the particles of all clusters that are not rejected, and merge matching ones if the configuration requires it."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.curation.final_particles import final_particles
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    clusters = read_averages(job.input.averages)
    mergers = read_table(job.input.mergers, text_columns=())
    particles = read_particles(job.input.particles)
    located = read_particles(job.input.located)
    merge, tables = job.params.averaging["merge"], job.input.evidence
    rates = read_table(tables[0], (columns.PARTICLE,)) if tables else None
    write_particles(job.output[0], final_particles(clusters, mergers, merge, particles, located, rates))


run(main, snakemake)
