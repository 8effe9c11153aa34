"""Make a dataset, run the workflow on it in its own folder, and record time and memory of every rule."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.made_datasets import make_dataset
from benchmarks.workflow_costs import measure
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    folder = Path(job.output[0]).with_suffix("").resolve()
    dataset = make_dataset(job.wildcards.dataset, folder)
    command = [*job.params.snakemake, "--snakefile", job.params.snakefile, "--cores", str(job.threads)]
    write_table(job.output[0], measure(dataset, command))
    shutil.rmtree(folder)


run(main, snakemake)
