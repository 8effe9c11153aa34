"""The particles of all clusters, with mergers applied."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.averaging.doubles import gather_tables
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.particles import pose_columns, rotations_of_table, shifts_of_table
from cryopipe.volume.geometry import rotation_from_relion_angles

SUPERPOSITION_COLUMNS = ("rot", "tilt", "psi", "x", "y", "z")
"""Columns of the table of mergers with the superposition: RELION's angles in degrees and the shift in voxels."""


def merged_particles(
    clusters: Mapping[int, ClusterAverage], mergers: pd.DataFrame, apply: bool
) -> pd.DataFrame:
    """Return the aligned particles of all clusters in one table.

    Parameters
    ----------
    clusters
        By cluster number.
    mergers
        From `cryopipe.averaging.triage.find_mergers`.
    apply
        Whether proposed mergers are applied: the particles get the number of the cluster that theirs is merged
        into, and poses relative to its average.
    """
    offered = mergers[mergers["offered"] == 1] if apply else mergers.iloc[:0]
    merged = {int(row["cluster"]): row for _, row in offered.iterrows()}
    tables = []
    for number, cluster in sorted(clusters.items()):
        if number in merged:
            into = int(merged[number]["into"])
            moved = _superposed_particles(cluster.particles, merged[number], cluster.voxel_size)
            moved = moved.assign(**{columns.CLASS: into})
            for name in clusters[into].particles.get(columns.CLASS_NAME, [])[:1]:
                moved[columns.CLASS_NAME] = name
            tables.append(moved)
        else:
            tables.append(cluster.particles)
    return gather_tables(tables)


def _superposed_particles(table: pd.DataFrame, merger: pd.Series, voxel_size: float) -> pd.DataFrame:
    """Return particles with poses relative to the average that their cluster is merged into."""
    # these load torch: without mergers, no job waits for it
    import torch

    from cryopipe.alignment.search import Poses
    from cryopipe.averaging.superposition import transform_poses

    angles, shift = (
        merger[list(SUPERPOSITION_COLUMNS[:3])].to_numpy(float),
        merger[list(SUPERPOSITION_COLUMNS[3:])].to_numpy(float),
    )
    superposition = Poses(
        torch.from_numpy(rotation_from_relion_angles(angles).as_matrix()), torch.tensor(shift)[None]
    )
    matrices, shifts = rotations_of_table(table).as_matrix(), shifts_of_table(table) / voxel_size
    poses = transform_poses(Poses(torch.from_numpy(matrices), torch.from_numpy(shifts)), superposition)
    rotations = Rotation.from_matrix(poses.matrices.numpy())
    return table.assign(**pose_columns(rotations, poses.shifts_voxels.numpy() * voxel_size))
