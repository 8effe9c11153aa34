"""Gather the checks of all tomograms in one table."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.files.records import recorded_names
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.provenance import RECORDS

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    folder = Path(RECORDS) / "pick_particles"
    for name in sorted(recorded_names(folder) - {Path(path).stem for path in job.input}):
        logging.warning(
            "tomogram %s is no longer in the table; its results are still in results/, such as %s",
            name,
            f"results/picks/{name}.star",
        )
    write_table(job.output[0], pd.concat([read_table(path) for path in job.input], ignore_index=True))


run(main, snakemake)
