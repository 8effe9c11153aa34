"""What an average is worth: size, shape, hand, likeness to other averages and to known maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe import columns
from cryopipe.averaging.fourier_band import Band
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.search import Poses
from cryopipe.averaging.superposition import common_frame, transform_poses, turned
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.particles import pose_columns, rotations_of_table, shifts_of_table
from cryopipe.volume.fourier import fourier_rescale, low_pass
from cryopipe.volume.geometry import relion_angles, rotation_from_relion_angles
from cryopipe.volume.masks import radial_profile, sphere_mask

FRAME_COLUMNS = ("rot", "tilt", "psi", "x", "y", "z")
"""Columns of a merger that hold the frame: RELION's angles in degrees and the shift in voxels."""


@dataclass(frozen=True)
class _Match:
    frame: Poses
    correlation: float


def triage(
    clusters: Mapping[int, ClusterAverage],
    known: Mapping[str, tuple[NDArray[np.float32], float]],
    options: AveragingOptions,
) -> pd.DataFrame:
    """Describe every cluster's average.

    Parameters
    ----------
    clusters
        By number.
    known
        Known maps by name, each (z, y, x) with its voxel size in angstrom; may be empty.
    options
        See `AveragingOptions`.

    Returns
    -------
    One row per cluster: particles, kept, resolution (angstrom, NaN where not measured), recognised (1 if
    finer than `recognised_resolution`), half_correlation (of the half-maps inside the mask),
    mirror_correlation (the same with one of them mirrored and aligned anew: near half_correlation, the hand
    does not show), diameter (angstrom, where the radial mean falls to half its maximum), shell_radius
    (angstrom, where it is largest), centre_density (at the centre, as a share of the maximum), and
    best_match with match_correlation among the known maps.
    """
    rows = []
    for number, cluster in sorted(clusters.items()):
        row: dict[str, object] = {
            "cluster": number,
            "particles": len(cluster.particles),
            "kept": int(cluster.particles[columns.ALIGNMENT_KEPT].sum()),
            "resolution": cluster.resolution if math.isfinite(cluster.resolution) else math.nan,
            "recognised": int(cluster.resolution < options.recognised_resolution),
        }
        rows.append(row | _consistency(cluster, options) | shape(cluster.volume, cluster.voxel_size) | _best_match(cluster, known, options))  # fmt: skip
    names = ["cluster", "particles", "kept", "resolution", "recognised", "half_correlation", "mirror_correlation",
             "diameter", "shell_radius", "centre_density", "best_match", "match_correlation"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def shape(average: NDArray[np.float32], voxel_size: float) -> dict[str, object]:
    """Return diameter, shell_radius and centre_density of a (z, y, x) average; see `triage`."""
    volume = torch.from_numpy(np.asarray(average, np.float32))
    profile = radial_profile(volume)[: volume.shape[0] // 2]
    # The surroundings are the outermost third.
    profile = profile - profile[len(profile) * 2 // 3 :].mean()
    peak = int(profile.argmax())
    beyond = torch.nonzero(profile[peak:] < profile[peak] / 2)
    edge = peak + int(beyond[0]) if len(beyond) else len(profile)
    centre = float(profile[0] / profile[peak]) if profile[peak] > 0 else 0.0
    return {"diameter": 2 * edge * voxel_size, "shell_radius": peak * voxel_size, "centre_density": centre}


def find_mergers(clusters: Mapping[int, ClusterAverage], options: AveragingOptions) -> pd.DataFrame:
    """Compare all averages with one another and offer as one cluster those that match.

    Parameters
    ----------
    clusters
        By number; all with one box and voxel size.
    options
        `merge_correlation` is the limit.

    Returns
    -------
    One row per pair: cluster, into (the one with more particles), correlation, offered (0 or 1), and the
    frame that carries the average of `cluster` onto that of `into`. A cluster is offered at most once, and
    never into one that is itself offered.
    """
    order = sorted(clusters, key=lambda number: (-len(clusters[number].particles), number))
    rows = []
    taken: set[int] = set()
    for i, number in enumerate(order):
        for into in order[:i]:
            match = _align_averages(clusters[into], clusters[number], options)
            offered = match.correlation >= options.merge_correlation and not {number, into} & taken
            if offered:
                taken.add(number)
            angles = relion_angles(Rotation.from_matrix(match.frame.matrices.double().numpy()))[0]
            frame = [*angles, *match.frame.shifts_voxels[0].tolist()]
            rows.append([number, into, match.correlation, int(offered), *frame])
    return pd.DataFrame(rows, columns=["cluster", "into", "correlation", "offered", *FRAME_COLUMNS])


def merged_particles(
    clusters: Mapping[int, ClusterAverage], mergers: pd.DataFrame, apply: bool
) -> pd.DataFrame:
    """Return the aligned particles of all clusters in one table.

    Parameters
    ----------
    clusters
        By number.
    mergers
        From `find_mergers`.
    apply
        Whether particles of a cluster that is offered get the other's number, with poses in its frame.
    """
    offered = mergers[mergers["offered"] == 1] if apply else mergers.iloc[:0]
    frames = {int(row["cluster"]): row for _, row in offered.iterrows()}
    tables = []
    for number, cluster in sorted(clusters.items()):
        if number in frames:
            into = int(frames[number]["into"])
            moved = _in_frame(cluster.particles, frames[number], cluster.voxel_size)
            tables.append(moved.assign(**{columns.CLASS: into}))
        else:
            tables.append(cluster.particles)
    nothing = pd.DataFrame(columns=[columns.PARTICLE, columns.CLASS])
    return pd.concat(tables, ignore_index=True) if tables else nothing


def _in_frame(table: pd.DataFrame, merger: pd.Series, voxel_size: float) -> pd.DataFrame:
    """Return particles with their poses against the average that theirs is carried onto."""
    angles, shift = (
        merger[list(FRAME_COLUMNS[:3])].to_numpy(float),
        merger[list(FRAME_COLUMNS[3:])].to_numpy(float),
    )
    frame = Poses(
        torch.from_numpy(rotation_from_relion_angles(angles).as_matrix()), torch.tensor(shift)[None]
    )
    matrices, shifts = rotations_of_table(table).as_matrix(), shifts_of_table(table) / voxel_size
    poses = transform_poses(Poses(torch.from_numpy(matrices), torch.from_numpy(shifts)), frame)
    rotations = Rotation.from_matrix(poses.matrices.numpy())
    return table.assign(**pose_columns(rotations, poses.shifts_voxels.numpy() * voxel_size))


def _align_averages(target: ClusterAverage, other: ClusterAverage, options: AveragingOptions) -> _Match:
    """Superpose an average on another at the coarser resolution of the two."""
    coarser = max(target.resolution, other.resolution)
    return _align(_tensor(target.volume), _tensor(other.volume), target.voxel_size, coarser, options)


def _align(
    goal: Tensor, other: Tensor, voxel_size: float, resolution: float, options: AveragingOptions
) -> _Match:
    """Superpose `other` on `goal`, both (z, y, x), and correlate the two inside the mask at a resolution."""
    n = goal.shape[0]
    if not math.isfinite(resolution):
        resolution = options.start_resolution
    coarser = min(max(resolution, 2.2 * voxel_size), n * voxel_size / 4)
    mask = sphere_mask(n, 0.4 * n, max(2.0, n / 10))
    goal, other = (low_pass(v, coarser, voxel_size) * mask for v in (goal, other))
    band = Band(n, math.ceil(n * voxel_size / coarser), goal.device)
    frame, _ = common_frame(goal, other, band, None, options.max_shift / voxel_size)
    return _Match(frame, _masked_correlation(goal, turned(other, frame), mask))


def _consistency(cluster: ClusterAverage, options: AveragingOptions) -> dict[str, object]:
    if cluster.half_maps is None:
        raise ValueError("triage needs the half-maps; read the averages with half_maps=True")
    half1, half2 = (_tensor(half) for half in cluster.half_maps)
    n = half1.shape[0]
    mask = sphere_mask(n, 0.4 * n, max(2.0, n / 10))
    resolution = cluster.resolution if math.isfinite(cluster.resolution) else options.start_resolution
    limit = max(resolution, 2.2 * cluster.voxel_size)
    smooth = [low_pass(half, limit, cluster.voxel_size) for half in (half1, half2)]
    mirrored = torch.roll(half2.flip(2), 1 - n % 2, dims=2)
    return {
        "half_correlation": _masked_correlation(smooth[0], smooth[1], mask),
        "mirror_correlation": _align(half1, mirrored, cluster.voxel_size, resolution, options).correlation,
    }


def _best_match(
    cluster: ClusterAverage, known: Mapping[str, tuple[NDArray[np.float32], float]], options: AveragingOptions
) -> dict[str, object]:
    best, score = "", math.nan
    for name, (volume, voxel_size) in sorted(known.items()):
        n = cluster.volume.shape[0]
        same = fourier_rescale(_tensor(volume), voxel_size, cluster.voxel_size, n)
        match = _align(_tensor(cluster.volume), same, cluster.voxel_size, cluster.resolution, options)
        if not match.correlation <= score:
            best, score = name, match.correlation
    return {"best_match": best, "match_correlation": score}


def _tensor(volume: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(volume.astype(np.float32))


def _masked_correlation(a: Tensor, b: Tensor, mask: Tensor) -> float:
    inside = mask > 0.5
    a, b = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12))
