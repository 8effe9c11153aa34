"""Gather the particles of the rescan of all tomograms in one file."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.files.star import read_particles, write_particles
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tables = [read_particles(path) for path in job.input]
    write_particles(
        job.output[0], pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)
    )


run(main, snakemake)
