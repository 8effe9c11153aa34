"""Gather the particles of all clusters; clusters that match become one where the configuration says so."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.averaging.triage import merged_particles
from cryopipe.files.mrc import read_header
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    clusters = {
        int(Path(path).stem.removeprefix("cluster_")): (
            read_particles(aligned),
            read_header(path).voxel_size_xyz[0],
        )
        for path, aligned in zip(job.input.averages, job.input.aligned, strict=True)
    }
    mergers = read_table(job.input.mergers, text_columns=())
    write_particles(job.output[0], merged_particles(clusters, mergers, job.params.averaging["merge"]))


run(main, snakemake)
