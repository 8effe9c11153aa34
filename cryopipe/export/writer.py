"""Interface of all formats, and their common context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.config.general import ImagingOptions
from cryopipe.errors import DataError
from cryopipe.export.options import ExportOptions, TomogramRecord
from cryopipe.export.particle_set import ParticleSet
from cryopipe.files.cluster_averages import ClusterAverage, cluster_name


@dataclass(frozen=True)
class Conventions:
    """What the user states about the positions and angles in a file; None and False: as its format has them.

    Attributes
    ----------
    first_voxel
        Coordinate of the centre of the first voxel: 0, 0.5 or 1.
    pixel_size
        Pixel size of the coordinates, angstrom; None if they are voxels of the tomogram.
    inverse
        Whether the angles describe the rotation from the particle to the reference.
    """

    first_voxel: float | None = None
    pixel_size: float | None = None
    inverse: bool = False


@dataclass(frozen=True)
class ExportContext:
    """Input of all formats.

    Attributes
    ----------
    tomograms
        By name.
    microscope
        The microscope.
    options
        The section `export`.
    box_width
        Edge of the boxes for learning features, angstrom.
    seed
        Seed of the noise that fills boxes beyond the tomogram.
    averages
        Averages by cluster number, as references for RELION.
    final_folder
        Folder of the files after verification, to which names in the files refer; None if the files are not moved.
    conventions
        Of files of other programs, for reading.
    """

    tomograms: Mapping[str, TomogramRecord]
    microscope: ImagingOptions
    options: ExportOptions
    box_width: float
    seed: int
    averages: Mapping[int, ClusterAverage] = field(default_factory=dict)
    final_folder: Path | None = None
    conventions: Conventions = Conventions()

    def final(self, folder: Path) -> Path:
        """Return the final folder of the files that are written to `folder`."""
        return self.final_folder or folder

    def number_of(self, tomogram: str) -> int:
        """Return the tomogram's number, counted from 1 in the table's order, for formats without names."""
        return self._numbers[tomogram]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.tomograms, 1)}

    def voxel_sizes(self, tomograms: list[str]) -> NDArray[np.float64]:
        """Return (n,) voxel sizes of the named tomograms, angstrom."""
        return np.array([self.tomograms[name].voxel_size for name in tomograms], dtype=np.float64)

    def in_voxels(
        self, coordinates: NDArray[np.float64], tomograms: list[str], first_voxel: float
    ) -> NDArray[np.float64]:
        """Return (n, 3) 0-based voxels of (n, 3) coordinates in a file, by the stated conventions.

        `first_voxel` is the coordinate of the first voxel's centre in the format.
        """
        stated = self.conventions
        places = coordinates - (first_voxel if stated.first_voxel is None else stated.first_voxel)
        if stated.pixel_size is None:
            return places
        binnings = self.voxel_sizes(tomograms)[:, None] / stated.pixel_size
        offset = 0.5 if self.options.binned_by == "averaging" else 0.0
        return np.asarray((places - offset * (binnings - 1)) / binnings)


@dataclass(frozen=True)
class Written:
    """A file of particles.

    Attributes
    ----------
    path
        The file.
    rows
        (m,) which of the particles it holds, in its order.
    """

    path: Path
    rows: NDArray[np.int64]


class Writer(Protocol):
    """One format: writes files of particles and reads files of that format."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the particles below `folder`; return every file that holds particles."""

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read the particles of a file, of cryopipe or of another program, by the rules of the format.

        Particles of tomograms that are not in the context are left out with a warning.
        """


def rows_in_clusters(particles: ParticleSet) -> NDArray[np.int64]:
    """Return (m,) the rows that are not noise."""
    return np.flatnonzero(particles.clusters != columns.UNASSIGNED)


def lists_of(particles: ParticleSet) -> dict[str, NDArray[np.int64]]:
    """Return the lists that every format writes, by name: `particles` with all clusters, and one per cluster."""
    rows = rows_in_clusters(particles)
    clusters = particles.clusters
    numbers = np.unique(clusters[rows])
    return {"particles": rows, **{cluster_name(int(one)): np.flatnonzero(clusters == one) for one in numbers}}


def by_tomogram(particles: ParticleSet, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return those of `rows` in each tomogram, by its name, in the order of the particles."""
    names = pd.Series([particles.tomograms[row] for row in rows], dtype=object)
    places = names.groupby(names, sort=False).indices
    return {name: rows[places[name]] for name in dict.fromkeys(names)}


def check_tomograms(particles: ParticleSet, context: ExportContext) -> None:
    """Check that all tomograms of the particles are in the table.

    Raises
    ------
    DataError
        With the first tomogram that is not.
    """
    unknown = sorted(set(particles.tomograms) - set(context.tomograms))
    if unknown:
        raise DataError(
            f"particles of tomogram {unknown[0]!r}, which is not in the tomogram table",
            remedy="add it to the table, or remove results/clusters and run again",
        )


def under_exported_names(particles: ParticleSet, context: ExportContext) -> tuple[ParticleSet, ExportContext]:
    """Return particles and context with the tomograms' names in other programs."""
    renamed = [context.tomograms[name].exported_name or name for name in particles.tomograms]
    table = particles.table.copy()
    table[columns.TOMOGRAM] = pd.Series(renamed, index=table.index, dtype=str)
    return replace(particles, tomograms=renamed, table=table), under_exported_records(context)


def under_exported_records(context: ExportContext) -> ExportContext:
    """Return the context with the tomograms' names in other programs."""
    names = {name: record.exported_name or name for name, record in context.tomograms.items()}
    records = {names[name]: replace(record, name=names[name]) for name, record in context.tomograms.items()}
    return replace(context, tomograms=records)
