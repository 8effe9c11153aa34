"""Score picks, clusters, poses and averages against known truth."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.evaluation.average_scores import with_map_scores
from cryopipe.evaluation.options import EvaluationOptions
from cryopipe.evaluation.score_tables import averages_table, clusters_table, contents_table, picking_table
from cryopipe.evaluation.truth import match_particles, of_tomogram, voxel_sizes_of
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = EvaluationOptions(**job.params.evaluation)
    tables = {path: read_particles(path) for path in job.input.truth}
    truth = {name: of_tomogram(tables[options.truth_file(name)], name) for name in job.params.tomograms}
    picks = pd.concat([read_particles(path) for path in job.input.picks], ignore_index=True)
    voxel_sizes = voxel_sizes_of(picks, job.params.tomograms)
    matched_picks = match_particles(picks, truth, voxel_sizes, options.radius)
    particles = match_particles(read_particles(job.input.particles), truth, voxel_sizes, options.radius)
    write_table(job.output.picking, picking_table(matched_picks))
    write_table(job.output.clusters, clusters_table(particles))
    write_table(job.output.contents, contents_table(particles))
    averages = read_averages(job.input.averages)
    scores = averages_table(particles, {n: one.particles for n, one in averages.items()}, voxel_sizes)
    write_table(job.output.averages, with_map_scores(scores, averages, options.maps_directory()))
    write_particles(job.output.matches, particles.table)


run(main, snakemake)
