"""Re-embedding of all averages in one tomogram, and the files of its result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.files.chimerax import Cluster, write_chimerax_script
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import OpenTomogram
from cryopipe.files.star import write_particles
from cryopipe.files.tables import write_table
from cryopipe.reembedding.options import ReembeddingOptions
from cryopipe.reembedding.placed_particles import artiax_table, choose_particles
from cryopipe.reembedding.placement import reembed
from cryopipe.reembedding.templates import make_templates
from cryopipe.tomograms import Tomogram

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class PlacedTomogram:
    """The averages placed in one tomogram.

    Attributes
    ----------
    path
        The tomogram's file; None if the tomogram cannot be used.
    voxel_size
        Angstrom; 1 if unknown.
    density, labels
        (z, y, x) volumes of `Reembedded`; of one voxel if the tomogram cannot be used.
    level
        Level of the density's surface.
    placements
        One row per particle; see `Reembedded`.
    particles
        The placed particles as ArtiaX reads them; see `artiax_table`.
    """

    path: str | None
    voxel_size: float
    density: NDArray[np.float32]
    labels: NDArray[np.int16]
    level: float
    placements: pd.DataFrame
    particles: pd.DataFrame

    @property
    def clusters(self) -> list[Cluster]:
        """The clusters with placed particles, with their numbers of particles."""
        numbers, counts = np.unique(self.placements["cluster"], return_counts=True)
        return [Cluster(int(number), int(count)) for number, count in zip(numbers, counts, strict=True)]


def reembed_tomogram(
    tomogram: Tomogram,
    opened: OpenTomogram | None,
    averages: Mapping[int, ClusterAverage],
    particles: Sequence[pd.DataFrame],
    options: ReembeddingOptions,
) -> PlacedTomogram:
    """Place the averages of all clusters in a tomogram of the table.

    Parameters
    ----------
    tomogram
        A row of the tomogram table.
    opened
        Its volume and voxel size; None if it cannot be used, which gives volumes of one voxel.
    averages
        By cluster number.
    particles
        Tables of particles with poses; those of other tomograms are left out.
    options
        The rule for the level, and which particles are placed.
    """
    shape = (1, 1, 1) if opened is None else opened.volume.shape
    voxel_size = (tomogram.voxel_size or 1.0) if opened is None else opened.voxel_size
    chosen = choose_particles(particles, tomogram.name, options)
    templates = make_templates(averages, set(chosen[columns.CLASS]), voxel_size, options)
    placed = reembed(shape, templates, chosen, f"re-embedding {tomogram.name}")
    return PlacedTomogram(
        None if opened is None else tomogram.path,
        voxel_size,
        placed.density,
        placed.labels,
        min((template.level for template in templates.values()), default=options.sigma),
        placed.placements,
        artiax_table(chosen, {tomogram.name: 1}),
    )


def write_placed_tomogram(
    placed: PlacedTomogram, density: Path, labels: Path, placements: Path, artiax: Path, script: Path
) -> None:
    """Write the files of a tomogram with placed averages.

    Parameters
    ----------
    placed
        Volumes and tables.
    density, labels
        MRC files.
    placements
        Tab-separated table.
    artiax
        STAR file of the particles.
    script
        ChimeraX script that opens tomogram, density and labels.

    Raises
    ------
    FileError
        If a file cannot be written.
    DataError
        If ChimeraX cannot open a file of that name.
    """
    write_volume(density, placed.density, placed.voxel_size)
    write_volume(labels, placed.labels, placed.voxel_size)
    write_table(placements, placed.placements)
    write_particles(artiax, placed.particles)
    # ChimeraX may be unable to open the file of a tomogram that failed its check.
    shown = placed.path or density
    write_chimerax_script(script, shown, density, labels, placed.voxel_size, placed.level, placed.clusters)
