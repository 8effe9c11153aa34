"""Interface of the writers of all formats, and their common context."""

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
from cryopipe.export.particle_set import ParticlePoses, ParticleSet
from cryopipe.files.cluster_averages import ClusterAverage


@dataclass(frozen=True)
class ExportContext:
    """Input of all writers.

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
    """

    tomograms: Mapping[str, TomogramRecord]
    microscope: ImagingOptions
    options: ExportOptions
    box_width: float
    seed: int
    averages: Mapping[int, ClusterAverage] = field(default_factory=dict)
    final_folder: Path | None = None

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
    """One format: writes files of particles and reads each of them back."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the particles below `folder`; return every file that holds particles."""

    def read(self, path: Path, context: ExportContext) -> ParticlePoses:
        """Read the poses of one such file by the rules of the format."""


def rows_in_clusters(particles: ParticleSet) -> NDArray[np.int64]:
    """Return (m,) the rows that are not noise."""
    return np.flatnonzero(particles.clusters != columns.UNASSIGNED)


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
    names = {name: record.exported_name or name for name, record in context.tomograms.items()}
    renamed = [names[name] for name in particles.tomograms]
    table = particles.table.copy()
    table[columns.TOMOGRAM] = pd.Series(renamed, index=table.index, dtype=str)
    records = {names[name]: replace(record, name=names[name]) for name, record in context.tomograms.items()}
    return replace(particles, tomograms=renamed, table=table), replace(context, tomograms=records)
