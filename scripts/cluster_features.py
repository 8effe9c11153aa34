"""Cluster all particles by their features."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.clustering import ClusteringOptions, cluster_particles
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.files.features import read_features
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    names, features, arrays = read_features(job.input.features)
    particles = pd.concat([read_particles(path) for path in job.input.particles], ignore_index=True)
    options, classes = ClusteringOptions(**job.params.clustering), ClassProbabilities.from_arrays(arrays)
    shifts, scores = arrays["shifts"], arrays["centring_scores"]
    table, clusters = cluster_particles(
        particles, names, features, shifts, scores, options, job.params.seed, classes
    )
    write_particles(job.output.clusters, table)
    write_table(job.output.selection, clusters.selection)


run(main, snakemake)
