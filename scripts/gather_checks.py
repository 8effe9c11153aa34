"""Gather the checks of all tomograms in one table."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    write_table(job.output[0], pd.concat([read_table(path) for path in job.input], ignore_index=True))


run(main, snakemake)
