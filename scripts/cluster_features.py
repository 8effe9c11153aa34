"""Sort all particles into clusters by their features."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe import columns
from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.files.features import read_features
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    names, features, _ = read_features(job.input.features)
    particles = pd.concat([read_particles(path) for path in job.input.particles], ignore_index=True)
    rows = particles.set_index(columns.PARTICLE, drop=False).loc[names]
    clusters = find_clusters(features, ClusteringOptions(**job.params.options), job.params.seed)
    table = rows.assign(**{columns.CLASS: clusters.labels, columns.POSTERIOR: clusters.posteriors})
    write_particles(job.output.particles, table.reset_index(drop=True))
    write_table(job.output.selection, clusters.selection)
    write_table(job.output.clusters, clusters.table())


run(main, snakemake)
