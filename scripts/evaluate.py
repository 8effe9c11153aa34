"""Score picks, clusters, poses and averages against ground truth."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.curation.final_particles import without_rejected
from cryopipe.evaluation.options import EvaluationOptions
from cryopipe.evaluation.run_scores import score_run
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    scores = score_run(
        job.params.tomograms,
        pd.concat([read_particles(path) for path in job.input.picks], ignore_index=True),
        without_rejected(read_particles(job.input.particles)),
        read_averages(job.input.averages),
        {path: read_particles(path) for path in job.input.truth},
        EvaluationOptions(**job.params.evaluation),
    )
    for name in ("picking", "clusters", "contents", "averages"):
        write_table(getattr(job.output, name), getattr(scores, name))
    write_particles(job.output.matches, scores.matches)


run(main, snakemake)
