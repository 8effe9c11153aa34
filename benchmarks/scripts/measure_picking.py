"""Measure picking and write docs/picking.md."""

from typing import TYPE_CHECKING, Any

import torch

from benchmarks import picking_scores
from benchmarks.hardware import describe_hardware
from benchmarks.pages import rewrite_page
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    picks, speed = picking_scores.measure_picks(), picking_scores.measure_speed()
    section = picking_scores.section(picks, speed, describe_hardware(torch.device("cpu")))
    rewrite_page(job.params.page, {"picking": section}, picking_scores.PAGE_HEADING)


run(main, snakemake)
