"""Run tomograms with and without particles with decoys, and write the tables of docs/evidence.md."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.evidence_tables import measure, section
from benchmarks.hardware import describe_hardware
from benchmarks.pages import rewrite_page
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    runs = measure(Path(job.params.finished), job.params.size, job.params.minutes)
    write_table(job.output[0], runs)
    text = section(runs, describe_hardware(torch.device("cpu")))
    rewrite_page(job.params.page, {"evidence": text}, "# Decoys and significance", keep_heading=True)


run(main, snakemake)
