"""Export to ArtiaX, the particle plug-in of ChimeraX: lists of all particles, per cluster and per tomogram."""

from __future__ import annotations

from pathlib import Path

from cryopipe import columns
from cryopipe.export.list_reading import (
    find_tomograms,
    numbers_of,
    particle_set,
    tomograms_by_number,
    write_numbers,
)
from cryopipe.export.particle_set import ParticleSet
from cryopipe.export.writer import ExportContext, Written, by_tomogram, lists_of
from cryopipe.files.star import read_particles, write_particles
from cryopipe.particles import poses_of_table
from cryopipe.reembedding import artiax_table


class ArtiaxFormat:
    """particles.star, cluster_NN.star, tomograms/<name>.star, and tomograms.tsv with the tomograms' numbers; no noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the lists; see `Writer`."""
        numbers = {name: context.number_of(name) for name in context.tomograms}
        lists = lists_of(particles)
        listed = {folder / f"{name}.star": rows for name, rows in lists.items()}
        for name, rows in by_tomogram(particles, lists["particles"]).items():
            listed[folder / "tomograms" / f"{name}.star"] = rows
        for path, mine in listed.items():
            write_particles(path, artiax_table(particles.table.iloc[mine], numbers))
        write_numbers(folder, context)
        return [Written(path, mine) for path, mine in listed.items()]

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a list; see `Writer`."""
        table = read_particles(path)
        named = tomograms_by_number(path, numbers_of(path, table, (columns.TOMOGRAM,))[:, 0], context)
        tomograms, rows = find_tomograms(path, named, context)
        table = table.iloc[rows].reset_index(drop=True)
        # without the tomograms' voxel sizes, which only shifts need: ArtiaX's lists have none
        positions, rotations = poses_of_table(table.assign(**{columns.VOXEL_SIZE: 1.0}))
        positions = context.in_voxels(positions, tomograms, 0)
        return particle_set(context, tomograms, positions, rotations, dict(table))
