"""Scores of a whole run: picks, clusters, poses and averages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from cryopipe.evaluation.average_scores import with_map_scores
from cryopipe.evaluation.options import EvaluationOptions
from cryopipe.evaluation.score_tables import averages_table, clusters_table, contents_table, picking_table
from cryopipe.evaluation.truth import match_particles, of_tomogram, voxel_sizes_of
from cryopipe.files.cluster_averages import ClusterAverage


@dataclass(frozen=True)
class RunScores:
    """Scores of a run.

    Attributes
    ----------
    picking, clusters, contents
        See `picking_table`, `clusters_table`, `contents_table`.
    averages
        See `averages_table` and `with_map_scores`.
    matches
        The particles of the clusters, each with the true particle that it matches.
    """

    picking: pd.DataFrame
    clusters: pd.DataFrame
    contents: pd.DataFrame
    averages: pd.DataFrame
    matches: pd.DataFrame


def score_run(
    tomograms: Iterable[str],
    picks: pd.DataFrame,
    particles: pd.DataFrame,
    averages: Mapping[int, ClusterAverage],
    truth_tables: Mapping[str, pd.DataFrame],
    options: EvaluationOptions,
) -> RunScores:
    """Score the results of a run against the truth.

    Parameters
    ----------
    tomograms
        Names.
    picks
        All picks.
    particles
        All particles with their clusters.
    averages
        By cluster number, each with the table of its aligned particles.
    truth_tables
        Tables of true particles, by the name of their file.
    options
        Which file has the truth of which tomogram, the radius of a match, and the directory of true maps.

    Raises
    ------
    DataError
        If a table has no coordinates.
    """
    truth = {name: of_tomogram(truth_tables[options.truth_file(name)], name) for name in tomograms}
    voxel_sizes = voxel_sizes_of(picks, truth)
    matched_picks = match_particles(picks, truth, voxel_sizes, options.radius)
    matched = match_particles(particles, truth, voxel_sizes, options.radius)
    tables = {number: average.particles for number, average in averages.items()}
    scores = averages_table(matched, tables, voxel_sizes)
    return RunScores(
        picking_table(matched_picks),
        clusters_table(matched),
        contents_table(matched),
        with_map_scores(scores, averages, options.maps_directory()),
        matched.table,
    )
