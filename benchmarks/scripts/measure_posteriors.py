"""Measure the accuracy of posteriors and of unassigned particles on simulated boxes."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.hardware import describe_hardware
from benchmarks.reliability import SIZES, measure_posteriors
from benchmarks.reliability_tables import posterior_section
from cryopipe.clustering import ClusteringOptions
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.files.atomic import write_text
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    device = choose_device(job.params.device)
    automatic = "full" if device.type == "cuda" else "reduced"
    size = automatic if job.params.size == "auto" else job.params.size
    learner = create_learner("transfer", FeatureOptions(weights=job.input.encoder), device, seed=1)
    runs = measure_posteriors(SIZES[size], learner, device, ClusteringOptions())
    write_table(job.output.runs, pd.concat([runs.assignment, runs.reliability], ignore_index=True))
    write_text(job.output.page, posterior_section(SIZES[size], runs, size, describe_hardware(device)))


run(main, snakemake)
