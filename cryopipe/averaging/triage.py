"""Description of averages: size, shape, handedness, similarity to other averages and to known maps."""

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
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Poses
from cryopipe.averaging.body import MARGIN, find_body
from cryopipe.averaging.mergers import SUPERPOSITION_COLUMNS
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.particle_shape import particle_shape
from cryopipe.averaging.point_group import PointGroup, propose_point_group
from cryopipe.averaging.superposition import rotated, superpose
from cryopipe.files.cluster_averages import SYMMETRY, ClusterAverage
from cryopipe.volume.fourier import fourier_rescale, low_pass
from cryopipe.volume.geometry import relion_angles
from cryopipe.volume.masks import radial_profile, sphere_mask

ALSO_IN_VERDICTS = ("doubles", "symmetry", "symmetry_score")
"""Columns of `triage` that the table of verdicts has, too."""


@dataclass(frozen=True)
class _Match:
    superposition: Poses
    correlation: float


def triage(
    clusters: Mapping[int, ClusterAverage],
    known: Mapping[str, tuple[NDArray[np.float32], float]],
    options: AveragingOptions,
    doubles: Mapping[int, int] | None = None,
) -> pd.DataFrame:
    """Describe every cluster's average.

    Parameters
    ----------
    clusters
        By cluster number.
    known
        Known maps by name, each (z, y, x) with its voxel size in angstrom; may be empty.
    options
        See `AveragingOptions`.
    doubles
        Number of particles that were doubles of others, by cluster.

    Returns
    -------
    One row per cluster: particles, doubles (not among the particles), kept, resolution (angstrom, NaN if not reported),
    half_correlation (of the half-maps inside the mask), mirror_correlation (the same
    with one half-map mirrored and superposed again; if it is close to half_correlation, the handedness is
    undetermined), diameter (angstrom, of the structure at the centre; see `particle_shape`), shell_radius (angstrom,
    where the radial mean is largest), centre_density (at the centre, as a fraction of the maximum), symmetry (the point
    group that fits the half-maps, C1 if none does; blank if they cannot decide or a group was imposed) with
    symmetry_score and symmetry_null, see `PointGroup`, and best_match with match_correlation among the known maps.
    """
    rows = []
    for number, cluster in sorted(clusters.items()):
        row: dict[str, object] = {
            "cluster": number,
            "particles": len(cluster.particles),
            "doubles": (doubles or {}).get(number, 0),
            "kept": int(cluster.particles[columns.ALIGNMENT_KEPT].sum()),
            "resolution": cluster.resolution if math.isfinite(cluster.resolution) else math.nan,
        }
        rows.append(row | _consistency(cluster, options) | shape(cluster.volume, cluster.voxel_size) | _symmetry(cluster) | _best_match(cluster, known, options))  # fmt: skip
    names = ["cluster", "particles", "doubles", "kept", "resolution", "half_correlation", "mirror_correlation",
             "diameter", "shell_radius", "centre_density", "symmetry", "symmetry_score", "symmetry_null", "best_match",
             "match_correlation"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def shape(average: NDArray[np.float32], voxel_size: float) -> dict[str, object]:
    """Return diameter, shell_radius and centre_density of a (z, y, x) average; see `triage`."""
    measured = particle_shape(average, voxel_size)
    inside = torch.from_numpy(np.where(measured.mask, average, np.median(average[~measured.mask])))
    profile = radial_profile(inside)[: average.shape[0] // 2]
    # the outermost third is the background
    profile = profile - profile[len(profile) * 2 // 3 :].mean()
    peak = int(profile.argmax())
    centre = float(profile[0] / profile[peak]) if profile[peak] > 0 else 0.0
    return {"diameter": measured.diameter, "shell_radius": peak * voxel_size, "centre_density": centre}


def find_mergers(clusters: Mapping[int, ClusterAverage], options: AveragingOptions) -> pd.DataFrame:
    """Compare all pairs of averages and propose to merge clusters whose averages match.

    Parameters
    ----------
    clusters
        By cluster number; all with the same box size and voxel size.
    options
        `merge_correlation` is the threshold.

    Returns
    -------
    One row per pair: cluster, into (the one with more particles), correlation, offered (1 if the merger is
    proposed, else 0), and the superposition of the average of `cluster` on that of `into`. A cluster is merged
    at most once, and never into a cluster that is itself merged.
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
            pose = match.superposition
            angles = relion_angles(Rotation.from_matrix(pose.matrices.double().numpy()))[0]
            shift = pose.shifts_voxels[0].tolist()
            rows.append([number, into, match.correlation, int(offered), *angles, *shift])
    return pd.DataFrame(rows, columns=["cluster", "into", "correlation", "offered", *SUPERPOSITION_COLUMNS])


def _align_averages(target: ClusterAverage, other: ClusterAverage, options: AveragingOptions) -> _Match:
    """Superpose an average on another, at the coarser of their resolutions."""
    coarser = max(target.resolution, other.resolution)
    return _align(_tensor(target.volume), _tensor(other.volume), target.voxel_size, coarser, options)


def _align(
    goal: Tensor, other: Tensor, voxel_size: float, resolution: float, options: AveragingOptions
) -> _Match:
    """Superpose `other` on `goal`, both (z, y, x), at a resolution, and correlate the two inside a mask."""
    n = goal.shape[0]
    if not math.isfinite(resolution):
        resolution = options.initial_resolution
    coarser = min(max(resolution, 2.2 * voxel_size), n * voxel_size / 4)
    mask = sphere_mask(n, 0.4 * n, max(2.0, n / 10))
    goal, other = (low_pass(v, coarser, voxel_size) * mask for v in (goal, other))
    band = Band(n, math.ceil(n * voxel_size / coarser), goal.device)
    pose, _ = superpose(goal, other, band, None, options.max_shift / voxel_size)
    return _Match(pose, _masked_correlation(goal, rotated(other, pose), mask))


def _consistency(cluster: ClusterAverage, options: AveragingOptions) -> dict[str, object]:
    if cluster.half_maps is None:
        raise ValueError("triage needs the half-maps; read the averages with half_maps=True")
    half1, half2 = (_tensor(half) for half in cluster.half_maps)
    n = half1.shape[0]
    mask = sphere_mask(n, 0.4 * n, max(2.0, n / 10))
    resolution = cluster.resolution if math.isfinite(cluster.resolution) else options.initial_resolution
    limit = max(resolution, 2.2 * cluster.voxel_size)
    smooth = [low_pass(half, limit, cluster.voxel_size) for half in (half1, half2)]
    mirrored = torch.roll(half2.flip(2), 1 - n % 2, dims=2)
    return {
        "half_correlation": _masked_correlation(smooth[0], smooth[1], mask),
        "mirror_correlation": _align(half1, mirrored, cluster.voxel_size, resolution, options).correlation,
    }


def _symmetry(cluster: ClusterAverage) -> dict[str, object]:
    """Return the proposed point group of an average without imposed symmetry."""
    group, imposed = PointGroup(""), str(cluster.figures.get(SYMMETRY, "C1")).upper()
    if cluster.half_maps is not None and imposed == "C1" and math.isfinite(cluster.resolution):
        halves = (_tensor(cluster.half_maps[0]), _tensor(cluster.half_maps[1]))
        smooth = [low_pass(half, cluster.resolution, cluster.voxel_size) for half in halves]
        radius = 0.4 * halves[0].shape[0]
        body = find_body(smooth, torch.zeros(3), radius)
        if body is not None:
            reach = float(np.linalg.norm(body.centre)) + MARGIN * body.extent / 2 + 1
            resolution = cluster.resolution / cluster.voxel_size
            group = propose_point_group(halves, min(radius, reach), resolution, seed=0)
    return {"symmetry": group.name, "symmetry_score": group.score, "symmetry_null": group.null}


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
