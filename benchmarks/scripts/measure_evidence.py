"""Run tomograms with and without particles with decoys, and write the table of docs/evidence.md."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from benchmarks.evidence_protocol import cases_of, figures_of, run_case, section
from benchmarks.hardware import describe_hardware
from benchmarks.pages import rewrite_page
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    rows = []
    for case, seed in cases_of(job.params.size):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(figures_of(case, seed, run_case(case, seed, Path(folder))))
    runs = pd.DataFrame(rows)
    write_table(job.output[0], runs)
    text = section(runs, describe_hardware(torch.device("cpu")))
    rewrite_page(job.params.page, {"evidence": text}, "# Decoys and significance", keep_heading=True)


run(main, snakemake)
