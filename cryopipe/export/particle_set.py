"""Particles to export: their poses and a table with every input column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.curation.apply import ACCEPTED, REJECTED
from cryopipe.errors import DataError
from cryopipe.particles import poses_of_table

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ParticlePoses:
    """Positions and rotations of particles.

    Attributes
    ----------
    tomograms
        (n,) names.
    positions
        (n, 3) x, y, z, 0-based voxels of the tomogram as stored, shifts included.
    rotations
        n active rotations from the reference to the particle.
    """

    tomograms: list[str]
    positions: FloatArray
    rotations: Rotation

    def __len__(self) -> int:
        return len(self.tomograms)


@dataclass(frozen=True)
class ParticleSet(ParticlePoses):
    """Particles with their poses and all columns of their tables.

    Attributes
    ----------
    table
        (n,) rows with every input column.
    """

    table: pd.DataFrame

    def select(self, rows: NDArray[np.int64]) -> ParticleSet:
        """Return the particles `rows` (m,), in that order."""
        return ParticleSet(
            [self.tomograms[row] for row in rows],
            self.positions[rows],
            Rotation.from_quat(self.rotations.as_quat()[rows]),  # indexing refuses to take none of none
            self.table.iloc[rows].reset_index(drop=True),
        )

    @property
    def clusters(self) -> NDArray[np.int64]:
        """(n,) class numbers; `UNASSIGNED` for unassigned particles."""
        return self.table[columns.CLASS].to_numpy(dtype=np.int64)

    @property
    def voxel_sizes(self) -> FloatArray:
        """(n,) voxel sizes of the particles' tomograms, angstrom."""
        return self.table[columns.VOXEL_SIZE].to_numpy(dtype=np.float64)


def inside_tomograms(
    particles: ParticleSet, shapes_zyx: Mapping[str, tuple[int, int, int]]
) -> NDArray[np.bool_]:
    """Return (n,) whether each particle lies inside its tomogram.

    Inside means between the centres of the outermost voxels, which is inside in all coordinate systems:
    RELION's whole voxels, unbinned pixels, Dynamo's continuous coordinates.

    Parameters
    ----------
    particles
        n particles.
    shapes_zyx
        Voxels of the tomograms, by name.
    """
    shapes = np.array([shapes_zyx[name][::-1] for name in particles.tomograms], dtype=np.float64).reshape(
        -1, 3
    )
    places = particles.positions
    return np.asarray(((places >= 0) & (places <= shapes - 1)).all(axis=1))


def gather_particles(particles: pd.DataFrame, clusters: Sequence[pd.DataFrame]) -> ParticleSet:
    """Join all particles that are exported with the poses from the alignment of the clusters.

    After decisions of the user, these are the accepted particles if any is accepted, otherwise all that are not rejected.

    Parameters
    ----------
    particles
        All particles, noise too.
    clusters
        Tables of aligned particles, a subset of `particles`, with angles and origins. If both tables contain a column,
        such as the cluster, the values of these tables are used.

    Returns
    -------
    The exported ones of `particles`, in the same order. A particle that was not aligned has angles,
    origins and whatever else only the clusters' tables hold 0; its half-set alternates between 1 and 2.

    Raises
    ------
    DataError
        If a particle occurs twice, or a cluster holds one that is not among `particles`.
    """
    _check_unique(particles, "the table of all particles")
    exported = _is_exported(particles)
    left_out = set(particles.loc[~exported, columns.PARTICLE])
    particles = particles[exported]
    clusters = [table[~table[columns.PARTICLE].isin(left_out)] for table in clusters]
    joined = particles.reset_index(drop=True)
    filled = [table for table in clusters if len(table)]
    if filled:
        aligned = pd.concat(filled, ignore_index=True)
        _check_unique(aligned, "the tables of the clusters")
        strange = set(aligned[columns.PARTICLE]) - set(joined[columns.PARTICLE])
        if strange:
            raise DataError(
                f"{len(strange)} aligned particles, such as {min(strange)!r}, are not among all particles",
                remedy="remove results/averages and run the workflow again",
            )
        joined = _with_columns_of(joined, aligned)
    for name in (*columns.ANGLES, *columns.ORIGINS):
        joined[name] = joined[name].fillna(0.0) if name in joined else 0.0
    alternating = pd.Series(np.arange(len(joined)) % 2 + 1)
    half_sets = joined.get(columns.HALF_SET, alternating)
    joined[columns.HALF_SET] = half_sets.where(half_sets.isin([1, 2]), alternating).astype(np.int64)
    if len(joined) != len(particles):
        raise DataError(f"{len(particles)} particles became {len(joined)} when the tables were joined")
    positions, rotations = poses_of_table(joined)
    return ParticleSet(joined[columns.TOMOGRAM].astype(str).tolist(), positions, rotations, joined)


def _is_exported(particles: pd.DataFrame) -> pd.Series:
    """Return which particles the user's decisions export."""
    if columns.DECISION not in particles:
        return pd.Series(True, index=particles.index)
    accepted = particles[columns.DECISION] == ACCEPTED
    return accepted if accepted.any() else particles[columns.DECISION] != REJECTED


def _check_unique(table: pd.DataFrame, where: str) -> None:
    twice = table[columns.PARTICLE][table[columns.PARTICLE].duplicated()]
    if len(twice):
        raise DataError(
            f"particle {twice.iloc[0]!r} occurs twice in {where}",
            remedy="give every particle a unique name in rlnTomoParticleName",
        )


def _with_columns_of(particles: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """Return `particles` with the values of `aligned` for the aligned particles."""
    rows = aligned.set_index(columns.PARTICLE).reindex(particles[columns.PARTICLE]).reset_index()
    has = particles[columns.PARTICLE].isin(aligned[columns.PARTICLE])
    joined = particles.copy()
    for name in aligned.columns:
        blank: object = 0 if pd.api.types.is_numeric_dtype(aligned[name]) else "None"
        joined[name] = rows[name].where(has, particles.get(name, blank))
        joined[name] = joined[name].astype(aligned[name].dtype)
    return joined
