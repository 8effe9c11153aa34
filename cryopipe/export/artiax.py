"""Export to ArtiaX, the particle plug-in of ChimeraX: lists of all particles, per cluster and per tomogram."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.export.list_reading import (
    diameters_of,
    find_tomograms,
    numbers_of,
    particle_set,
    tomograms_by_number,
    write_numbers,
)
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext, Written, by_tomogram, lists_of
from cryopipe.files.chimerax import ParticleList, write_artiax_script
from cryopipe.files.cluster_averages import cluster_name
from cryopipe.files.star import read_particles, write_particles
from cryopipe.particles import poses_of_table
from cryopipe.reembedding import artiax_table


class ArtiaxFormat:
    """particles.star, cluster_NN.star, tomograms.tsv with the tomograms' numbers, and in tomograms/ for each of them
    <name>.star, one list per cluster, and <name>.cxc, which opens them with the clusters' colours; no noise.
    """

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the lists and scripts; see `Writer`."""
        numbers = {name: context.number_of(name) for name in context.tomograms}
        lists = lists_of(particles)
        listed = {folder / f"{name}.star": rows for name, rows in lists.items()}
        place = folder / "tomograms"
        for name, rows in by_tomogram(particles, lists["particles"]).items():
            listed[place / f"{name}.star"] = rows
            clusters = particles.clusters[rows]
            shown = []
            for cluster in np.unique(clusters):
                mine = rows[clusters == cluster]
                path = place / name / f"{cluster_name(int(cluster))}.star"
                radius = float(np.median(diameters_of(particles.select(mine), context))) / 2
                shown.append(ParticleList(path, int(cluster), radius))
                listed[path] = mine
            _write_script(place, name, shown, context, folder)
        for path, mine in listed.items():
            write_particles(path, artiax_table(particles.table.iloc[mine], numbers))
        write_numbers(folder, context)
        return [Written(path, mine) for path, mine in listed.items()]

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a list; see `Writer`."""
        table = read_particles(path)
        named = tomograms_by_number(path, _numbers(path, table), context)
        tomograms, rows = find_tomograms(path, named, context)
        table = table.iloc[rows].reset_index(drop=True)
        # without the tomograms' voxel sizes, which only shifts need: ArtiaX's lists have none
        positions, rotations = poses_of_table(table.assign(**{columns.VOXEL_SIZE: 1.0}))
        positions = context.in_voxels(positions, tomograms, 0)
        return particle_set(context, tomograms, positions, rotations, dict(table))


def _write_script(
    place: Path, name: str, lists: list[ParticleList], context: ExportContext, folder: Path
) -> None:
    """Write the script of a tomogram to a folder, which is moved to its final place afterwards."""
    record, final = context.tomograms[name], context.final(folder) / "tomograms"
    moved = [
        ParticleList(final / Path(one.file).relative_to(place), one.cluster, one.radius) for one in lists
    ]
    write_artiax_script(place / f"{name}.cxc", final, record.path, record.voxel_size, moved)


def _numbers(path: str | os.PathLike[str], table: pd.DataFrame) -> FloatArray:
    """Return (n,) the numbers at the end of the tomograms' names."""
    names = table[columns.TOMOGRAM].astype(str)
    ends = names.str.extract(r"(\d+)$", expand=False).fillna(names)
    return numbers_of(path, pd.DataFrame({columns.TOMOGRAM: ends}), (columns.TOMOGRAM,))[:, 0]
