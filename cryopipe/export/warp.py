"""Export to Warp and M: positions in voxels of the tomogram, one file per voxel size.

`WarpTools ts_export_particles --coords_angpix` and `MTools create_species --angpix_coords` take one pixel size for a
whole file, which is in the file's name and in rlnPixelSize. Coordinates include the shifts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.export.particle_set import ParticlePoses, ParticleSet
from cryopipe.export.writer import ExportContext, Written, rows_in_clusters
from cryopipe.files.star import read_particles, write_star
from cryopipe.particles import rotations_of_table
from cryopipe.volume.geometry import relion_angles

SUFFIX = ".tomostar"


class WarpWriter:
    """particles_<voxel size>A.star, single tables in the manner of RELION 3.0; noise is left out."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write one table per voxel size; see `Writer`."""
        rows = rows_in_clusters(particles)
        sizes = np.round(context.voxel_sizes(particles.tomograms), 4)
        written = []
        for size in sorted(set(sizes[rows])):
            mine = rows[sizes[rows] == size]
            path = folder / f"particles_{size:g}A.star"
            write_star(path, {"": _table(particles.select(mine), size)})
            written.append(Written(path, mine))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticlePoses:
        """Read one table back by Warp's rules."""
        table = read_particles(path)
        tomograms = [name.removesuffix(SUFFIX) for name in table[columns.MICROGRAPH]]
        positions = table[list(columns.COORDINATES)].to_numpy(dtype=np.float64)
        scale = table["rlnPixelSize"].to_numpy(dtype=np.float64) / context.voxel_sizes(tomograms)
        rotations = rotations_of_table(table)
        return ParticlePoses(tomograms, positions * scale[:, None], rotations)


def _table(particles: ParticleSet, voxel_size: float) -> pd.DataFrame:
    names = [name + SUFFIX for name in particles.tomograms]
    table = pd.DataFrame({columns.MICROGRAPH: pd.Series(names, dtype=str)})
    angles = relion_angles(particles.rotations)
    for axis in range(3):
        table[columns.COORDINATES[axis]] = particles.positions[:, axis]
    for axis in range(3):
        table[columns.ANGLES[axis]] = angles[:, axis]
    table["rlnPixelSize"] = voxel_size
    table[columns.HALF_SET] = particles.table[columns.HALF_SET].to_numpy()
    table[columns.CLASS] = particles.clusters
    return table
