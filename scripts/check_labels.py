"""Check the user's labels of particles; if they cannot be used, report the reason in one line."""

from typing import TYPE_CHECKING, Any

from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.particle_labels import check_labels

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    write_table(job.output[0], check_labels(job.input[0], job.params.tomograms))


run(main, snakemake)
