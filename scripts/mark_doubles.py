"""Mark particles of all clusters that are at the place of another one."""

from typing import TYPE_CHECKING, Any

from cryopipe.averaging.doubles import gather_tables, located_clusters, mark_doubles
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    located = gather_tables([read_particles(path) for path in job.input])
    marked = mark_doubles(located, job.params.averaging["double_distance"])
    write_particles(job.output.particles, marked)
    write_table(job.output.clusters, located_clusters(marked))


run(main, snakemake)
