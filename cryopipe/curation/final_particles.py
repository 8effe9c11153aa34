"""Particles of a run after averaging and the user's decisions."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cryopipe import columns
from cryopipe.averaging.doubles import doubles_of, gather_tables, with_ctf_limits
from cryopipe.averaging.mergers import merged_particles
from cryopipe.curation.apply import REJECTED
from cryopipe.errors import DataError
from cryopipe.files.cluster_averages import ClusterAverage


def final_particles(
    clusters: Mapping[int, ClusterAverage],
    mergers: pd.DataFrame,
    merge: bool,
    particles: pd.DataFrame,
    located: pd.DataFrame,
    rates: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the aligned particles of all clusters that are not rejected, with their names and states.

    Doubles are among them, unassigned.

    Parameters
    ----------
    clusters
        Averages with aligned particles, by cluster number.
    mergers
        From `cryopipe.averaging.triage.find_mergers`.
    merge
        Whether proposed mergers are applied; those with a rejected cluster are not.
    particles
        All particles with the present clusters, states and names.
    located
        Particles of all clusters at their centres, doubles marked.
    rates
        Local false discovery rates of particles by name, see `cryopipe.evidence.assessment.Assessment`; None without decoys.

    Raises
    ------
    DataError
        If the aligned particles of a cluster are not its present particles.
    """
    _check_members(clusters, particles, located)
    gone = rejected_clusters(particles)
    kept = {number: cluster for number, cluster in clusters.items() if number not in gone}
    merged = merged_particles(kept, mergers[~mergers[["cluster", "into"]].isin(gone).any(axis=1)], merge)
    table = with_ctf_limits(gather_tables([merged, doubles_of(located)]))
    by_name = particles.set_index(columns.PARTICLE)
    if rates is not None and len(rates):
        found = rates.set_index(columns.PARTICLE)[columns.FALSE_DISCOVERY]
        table[columns.FALSE_DISCOVERY] = found.reindex(table[columns.PARTICLE]).to_numpy()
    if columns.DECISION in particles:
        table[columns.DECISION] = by_name[columns.DECISION].reindex(table[columns.PARTICLE]).to_numpy()
    if columns.CLASS_NAME in particles:
        names = particles.drop_duplicates(columns.CLASS).set_index(columns.CLASS)[columns.CLASS_NAME]
        table[columns.CLASS_NAME] = names.reindex(table[columns.CLASS]).fillna(columns.NO_CLASS).to_numpy()
    return table


def rejected_clusters(particles: pd.DataFrame) -> set[int]:
    """Return the numbers of the clusters that the user rejected."""
    if columns.DECISION not in particles:
        return set()
    rejected = particles[particles[columns.DECISION] == REJECTED]
    return set(rejected[columns.CLASS].astype(int)) - {columns.UNASSIGNED}


def without_rejected(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the particles of rejected clusters unassigned."""
    gone = particles[columns.CLASS].isin(rejected_clusters(particles))
    return particles.assign(**{columns.CLASS: particles[columns.CLASS].mask(gone, columns.UNASSIGNED)})


def _check_members(
    clusters: Mapping[int, ClusterAverage], particles: pd.DataFrame, located: pd.DataFrame
) -> None:
    doubles = set(doubles_of(located)[columns.PARTICLE])
    present = particles.groupby(columns.CLASS)[columns.PARTICLE].agg(set).to_dict()
    for number, cluster in clusters.items():
        table = cluster.particles
        aligned = set(table[columns.PARTICLE]) if columns.PARTICLE in table else set()
        if aligned != present.get(number, set()) - doubles:
            raise DataError(
                f"results/averages/cluster_{number:02d}.star has other particles than cluster {number}",
                remedy="remove that file and run again",
            )
