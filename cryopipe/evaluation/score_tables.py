"""Tables of scores: picking, clusters, contents of clusters, averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.evaluation.cluster_scores import BACKGROUND, score_clusters
from cryopipe.evaluation.pick_scores import (
    ALL,
    DetectionScore,
    cluster_detection,
    recall_table,
    score_picking,
)
from cryopipe.evaluation.pose_scores import score_poses
from cryopipe.evaluation.truth import NO_MATCH, TRUE_CLASS, TRUE_INDEX, MatchedParticles, centres, symmetry_of
from cryopipe.volume.geometry import rotation_from_relion_angles, symmetry_rotations

GOOD_POSE_DEGREES = 15.0


def picking_table(picks: MatchedParticles) -> pd.DataFrame:
    """Score picks over all tomograms, per tomogram, and (recall only) per class.

    Returns
    -------
    Columns tomogram, class, found, truth, matched, recall, precision, f1; NaN where a score is undefined.
    """
    rows = [_picking_row(ALL, score_picking(list(picks.matches.values())))]
    rows += [_picking_row(name, score_picking([match])) for name, match in picks.matches.items()]
    for row in recall_table(picks.true_classes, picks.was_found).to_dict("records"):
        rows.append({"tomogram": ALL, **{str(name): value for name, value in row.items()}})
    names = ["tomogram", "class", "found", "truth", "matched", "recall", "precision", "f1"]
    return pd.DataFrame(rows, columns=names).astype({"found": "Int64"})


def _picking_row(tomogram: str, score: DetectionScore) -> dict[str, Any]:
    return {
        "tomogram": tomogram,
        "class": ALL,
        "found": score.found,
        "truth": score.truth,
        "matched": score.matched,
        "recall": score.recall,
        "precision": score.precision,
        "f1": score.f1,
    }


def clusters_table(particles: MatchedParticles) -> pd.DataFrame:
    """Score the clusters over three sets of particles.

    Returns
    -------
    One row per set (scope): "matched" has the particles that match a true one; "clustered" has those of them
    that are assigned to a cluster; "everything" has all particles, and those without a match form the class
    "background".
    """
    classes = particles.table[TRUE_CLASS].to_numpy(str)
    clusters = particles.table[columns.CLASS].to_numpy(int)
    matched = classes != NO_MATCH
    everything = np.where(matched, classes, BACKGROUND)
    sets = {
        "matched": matched,
        "clustered": matched & (clusters != columns.UNASSIGNED),
        "everything": np.ones(len(classes), bool),
    }
    rows = [
        {"scope": name, **asdict(score_clusters(everything[chosen], clusters[chosen], columns.UNASSIGNED))}
        for name, chosen in sets.items()
    ]
    return pd.DataFrame(rows)


def contents_table(particles: MatchedParticles) -> pd.DataFrame:
    """Count the particles of every true class in every cluster.

    Returns
    -------
    One row per cluster, unassigned particles (class 0) last. Columns: cluster, one per true class, and "none" for
    particles that match no true one.
    """
    clusters = particles.table[columns.CLASS].to_numpy(int)
    classes = particles.table[TRUE_CLASS].to_numpy(str)
    names = [*np.unique(particles.true_classes).tolist(), NO_MATCH]
    numbers = sorted(set(clusters.tolist()), key=lambda number: (number == columns.UNASSIGNED, number))
    rows = [
        {"cluster": number, **{name: int(np.sum((clusters == number) & (classes == name))) for name in names}}
        for number in numbers
    ]
    return pd.DataFrame(rows, columns=["cluster", *names])


def averages_table(
    particles: MatchedParticles, averages: Mapping[int, pd.DataFrame], voxel_sizes: Mapping[str, float]
) -> pd.DataFrame:
    """Score every cluster as a detector of its class, and the poses of its particles.

    Parameters
    ----------
    particles
        All particles with their clusters and matches.
    averages
        Table of aligned particles of each cluster.
    voxel_sizes
        Angstrom, by tomogram.

    Returns
    -------
    The columns of `cluster_detection`, then poses (number of compared poses), angle_error and shift_error
    (medians, degrees and angstrom), and good_poses (fraction within `GOOD_POSE_DEGREES`).
    """
    names, counts = np.unique(particles.true_classes, return_counts=True)
    matched = particles.table[TRUE_CLASS].to_numpy(str)
    table = cluster_detection(
        particles.table[columns.CLASS].to_numpy(int),
        np.where(matched == NO_MATCH, "", matched),
        dict(zip(names.tolist(), counts.tolist(), strict=True)),
        columns.UNASSIGNED,
    )
    errors = [
        _pose_errors(particles, averages.get(int(cluster)), str(name), voxel_sizes)
        for cluster, name in zip(table["cluster"].tolist(), table["class"].tolist(), strict=True)
    ]
    empty = pd.DataFrame(columns=["poses", "angle_error", "shift_error", "good_poses"])
    return pd.concat([table, pd.DataFrame(errors) if errors else empty], axis=1)


def _pose_errors(
    particles: MatchedParticles, aligned: pd.DataFrame | None, name: str, voxel_sizes: Mapping[str, float]
) -> dict[str, float]:
    """Return pose errors of a cluster's particles that match true particles of the class `name`."""
    nothing = {"poses": 0, "angle_error": np.nan, "shift_error": np.nan, "good_poses": np.nan}
    if aligned is None or not len(aligned) or any(angle not in aligned for angle in columns.ANGLES):
        return nothing
    known = particles.table[particles.table[TRUE_CLASS] == name]
    pairs = aligned.merge(known[[columns.PARTICLE, TRUE_INDEX]], on=columns.PARTICLE)
    found_angles, true_angles, found_centres, true_centres = [], [], [], []
    symmetry = "C1"
    for tomogram, rows in pairs.groupby(columns.TOMOGRAM, sort=False):
        truth = particles.truth[str(tomogram)]
        if any(angle not in truth for angle in columns.ANGLES):
            return nothing
        true = truth.iloc[rows[TRUE_INDEX].to_numpy(int)]
        symmetry = symmetry_of(name, true)
        found_angles.append(rows[list(columns.ANGLES)].to_numpy(float))
        true_angles.append(true[list(columns.ANGLES)].to_numpy(float))
        size = voxel_sizes[str(tomogram)]
        found_centres.append(centres(rows, size))
        true_centres.append(centres(true, size))
    if not found_angles:
        return nothing
    errors = score_poses(
        rotation_from_relion_angles(np.concatenate(found_angles)),
        rotation_from_relion_angles(np.concatenate(true_angles)),
        np.concatenate(found_centres),
        np.concatenate(true_centres),
        symmetry_rotations(symmetry),
    )
    return {
        "poses": len(errors.degrees),
        "angle_error": float(np.median(errors.degrees)),
        "shift_error": float(np.median(errors.shifts)),
        "good_poses": float(np.mean(errors.degrees <= GOOD_POSE_DEGREES)),
    }
