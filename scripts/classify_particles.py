"""Classify all particles by the averages of classes, starting from the clusters of the features."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.classification import ClassificationOptions, classify_particles
from cryopipe.clustering import ClusteringOptions
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.features import features_of
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    particles = read_particles(job.input.clusters)
    table, rounds = classify_particles(
        BoxStack(job.input.boxes),
        particles,
        features_of(job.input.features, particles[columns.PARTICLE].tolist()),
        ClassificationOptions(**job.params.classification),
        ClusteringOptions(**job.params.clustering),
        job.params.seed,
        choose_device(job.config["device"]),
        Path(job.params.checkpoint),
    )
    write_particles(job.output.found, table)
    write_table(job.output.rounds, rounds)


run(main, snakemake)
