"""Gather the particles of all clusters, and merge matching clusters if the configuration requires it."""

from typing import TYPE_CHECKING, Any

from cryopipe.averaging.triage import merged_particles
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    clusters = read_averages(job.input.averages)
    mergers = read_table(job.input.mergers, text_columns=())
    write_particles(job.output[0], merged_particles(clusters, mergers, job.params.averaging["merge"]))


run(main, snakemake)
