"""Mark particles of all clusters that are at the place of another one."""

from typing import TYPE_CHECKING, Any

from cryopipe.averaging.doubles import gather_tables, mark_doubles
from cryopipe.files.star import read_particles, write_particles
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    located = gather_tables([read_particles(path) for path in job.input])
    write_particles(job.output[0], mark_doubles(located, job.params.averaging["double_distance"]))


run(main, snakemake)
