"""Export to ArtiaX, the particle plug-in of ChimeraX: one list of all particles and one per tomogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.export.particle_set import ParticlePoses, ParticleSet
from cryopipe.export.writer import ExportContext, Written, rows_in_clusters
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.particles import rotations_of_table
from cryopipe.reembedding import artiax_table


class ArtiaxWriter:
    """particles.star, tomograms/<name>.star, and tomograms.tsv with the tomograms' numbers; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the lists; see `Writer`."""
        numbers = {name: context.number_of(name) for name in context.tomograms}
        rows = rows_in_clusters(particles)
        listed = {folder / "particles.star": rows}
        tomograms = np.array(particles.tomograms, dtype=object)[rows]
        for name in dict.fromkeys(tomograms):
            listed[folder / "tomograms" / f"{name}.star"] = rows[tomograms == name]
        for path, mine in listed.items():
            write_particles(path, artiax_table(particles.table.iloc[mine], numbers))
        records = context.tomograms.values()
        key = pd.DataFrame({"number": list(numbers.values()), "tomogram": list(numbers)})
        key["path"] = [record.path for record in records]
        key["voxel_size"] = [record.voxel_size for record in records]
        write_table(folder / "tomograms.tsv", key)
        return [Written(path, mine) for path, mine in listed.items()]

    def read(self, path: Path, context: ExportContext) -> ParticlePoses:
        """Read a list back."""
        table = read_particles(path)
        names = list(context.tomograms)
        tomograms = [names[int(number) - 1] for number in table[columns.TOMOGRAM]]
        rotations = rotations_of_table(table)
        return ParticlePoses(
            tomograms, table[list(columns.COORDINATES)].to_numpy(dtype=np.float64), rotations
        )
