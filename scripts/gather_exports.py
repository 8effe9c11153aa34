"""Gather the exported files in one table, and remove the files of formats that are no longer in the configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.files.ownership import remove_written_files
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    results = Path(job.output[0]).parent.parent
    for name in job.params.others:
        remove_written_files(results / name)
        (results / "export" / f"{name}.tsv").unlink(missing_ok=True)
    tables = [read_table(path) for path in job.input]
    write_table(
        job.output[0], pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"format": []})
    )


run(main, snakemake)
