"""Measured facts about clusters, from which their verdicts follow."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import chdtrc
from torch import Tensor

from cryopipe import columns
from cryopipe.averaging.facts import ClusterFacts
from cryopipe.averaging.particle_shape import particle_shape
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.particles import poses_of_table, rotations_of_table
from cryopipe.volume.fourier import low_pass
from cryopipe.volume.masks import radial_profile, radius_grid, sphere_mask

WIDEST = 0.4
"""Largest radius of the sphere in which half-maps are compared, as a fraction of the box."""
PICKED_AGAIN = 1.5
"""Half-maps are compared within this many radii of the structure."""


def cluster_facts(
    clusters: Mapping[int, ClusterAverage], initial_resolution: float
) -> dict[int, ClusterFacts]:
    """Return the facts about every cluster.

    Parameters
    ----------
    clusters
        Averages with aligned particles and half-maps, by number.
    initial_resolution
        Angstrom; resolution at which half-maps without a reported resolution are compared.
    """
    tables = [cluster.particles for cluster in clusters.values() if len(cluster.particles)]
    everything = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    near = near_faces(everything)
    picks = _median(everything, columns.PICK_SCORE)
    found = {}
    first = 0
    for number, cluster in clusters.items():
        table = cluster.particles
        rows = slice(first, first + len(table))
        first += len(table)
        found[number] = _facts(cluster, near[rows], near, picks, initial_resolution)
    return found


def _facts(
    cluster: ClusterAverage,
    near: NDArray[np.bool_],
    all_near: NDArray[np.bool_],
    picks: float,
    initial_resolution: float,
) -> ClusterFacts:
    table = cluster.particles
    shape = particle_shape(cluster.volume, cluster.voxel_size)
    profile = radial_profile(torch.from_numpy(cluster.volume)).numpy()
    profile = profile - profile[len(profile) * 2 // 3 :].mean()
    whole, structure = half_agreement(cluster, shape.diameter, initial_resolution)
    counts = table[columns.TOMOGRAM].value_counts() if columns.TOMOGRAM in table else pd.Series(dtype=int)
    orientation, probability = orientation_excess(table)
    return ClusterFacts(
        particles=len(table),
        kept=int(table[columns.ALIGNMENT_KEPT].sum()) if columns.ALIGNMENT_KEPT in table else len(table),
        tomograms=len(counts),
        in_one=float(counts.max() / len(table)) if len(counts) else math.nan,
        resolution=cluster.resolution,
        half_correlation=whole,
        structure_correlation=structure,
        diameter=shape.diameter,
        elongation=shape.elongation,
        flatness=shape.flatness,
        at_rim=shape.at_rim,
        hollow=float(profile[0] / profile.max()) if profile.max() > 0 else math.nan,
        picking_diameter=_median(table, columns.DIAMETER),
        near_faces=float(near.mean()) if len(near) else math.nan,
        expected_near_faces=float(all_near.mean()) if len(all_near) else math.nan,
        orientation=orientation,
        orientation_p=probability,
        pick_score=_median(table, columns.PICK_SCORE) / picks,
        posterior=float(table[columns.POSTERIOR].mean()) if columns.POSTERIOR in table else math.nan,
    )


def half_agreement(
    cluster: ClusterAverage, diameter: float, initial_resolution: float
) -> tuple[float, float]:
    """Return the correlation of the half-maps around the structure, with and without their radial means.

    Parameters
    ----------
    cluster
        With half-maps.
    diameter
        Of the structure, angstrom; NaN for the whole box.
    initial_resolution
        Angstrom; used if the cluster has no resolution.
    """
    if cluster.half_maps is None:
        raise ValueError("facts need the half-maps; read the averages with half_maps=True")
    n = cluster.volume.shape[0]
    limit = cluster.resolution if math.isfinite(cluster.resolution) else initial_resolution
    limit = max(limit, 2.2 * cluster.voxel_size)
    halves = [
        low_pass(torch.from_numpy(half.astype(np.float32)), limit, cluster.voxel_size)
        for half in cluster.half_maps
    ]
    radius = WIDEST * n
    if math.isfinite(diameter):
        radius = min(radius, PICKED_AGAIN * diameter / 2 / cluster.voxel_size)
    inside = sphere_mask(n, radius, 0.0) > 0.5
    first, second = (without_radial_mean(half) for half in halves)
    return _correlation(halves[0], halves[1], inside), _correlation(first, second, inside)


def without_radial_mean(volume: Tensor) -> Tensor:
    """Return a (z, y, x) volume less the mean at each distance from its centre."""
    profile = radial_profile(volume).to(volume)
    radius = radius_grid(volume.shape, volume.device).clamp(max=len(profile) - 1)
    below = radius.long().clamp(max=len(profile) - 2)
    fraction = radius - below
    return volume - (profile[below] * (1 - fraction) + profile[below + 1] * fraction)


def orientation_excess(table: pd.DataFrame) -> tuple[float, float]:
    """Return how far orientations are from uniform, 0 to 1, and the probability of that if they are uniform.

    Notes
    -----
    Bingham's test of the second moments of the rotations' quaternions: 12 n (tr(T^2) - 1/4) follows a chi-squared
    distribution with 9 degrees of freedom if rotations are uniform.
    """
    if columns.ANGLES[0] not in table or not len(table):
        return math.nan, math.nan
    quaternions = rotations_of_table(table).as_quat()
    moments = quaternions.T @ quaternions / len(quaternions)
    excess = float((moments**2).sum() - 0.25)
    # chdtrc is the survival function of chi-squared; scipy.stats, which has it too, takes a second to import
    return excess / 0.75, float(chdtrc(9, 12 * len(quaternions) * excess))


def near_faces(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (n,) which particles are within half a picking diameter of the lowest or highest particle of their tomogram."""
    if not len(table) or not {columns.DIAMETER, *columns.ORIGINS} <= set(table):
        return np.zeros(len(table), bool)
    heights = poses_of_table(table)[0][:, 2]
    margin = (table[columns.DIAMETER] / table[columns.VOXEL_SIZE]).to_numpy(float) / 2
    groups = pd.Series(heights).groupby(table[columns.TOMOGRAM].astype(str).to_numpy())
    low, high = groups.transform("min").to_numpy(), groups.transform("max").to_numpy()
    return np.asarray((heights - low < margin) | (high - heights < margin))


def _median(table: pd.DataFrame, column: str) -> float:
    return float(table[column].median()) if column in table and len(table) else math.nan


def _correlation(a: Tensor, b: Tensor, inside: Tensor) -> float:
    a, b = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12))
