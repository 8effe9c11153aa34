"""Export to Warp and M: positions in voxels of the tomogram, one file per voxel size.

`WarpTools ts_export_particles --coords_angpix` and `MTools create_species --angpix_coords` take one pixel size for a
whole file, which is in the file's name and in rlnPixelSize. Coordinates include the shifts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.export.particle_set import ParticleSet
from cryopipe.export.relion3 import read_relion_table
from cryopipe.export.writer import ExportContext, Written, lists_of
from cryopipe.files.star import write_star
from cryopipe.volume.geometry import relion_angles

SUFFIX = ".tomostar"


class WarpFormat:
    """particles_<voxel size>A.star and the same per cluster, single tables in the manner of RELION 3.0; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write one table per list and voxel size; see `Writer`."""
        sizes = np.round(context.voxel_sizes(particles.tomograms), 4)
        written = []
        for name, rows in lists_of(particles).items():
            for size in sorted(set(sizes[rows])):
                mine = rows[sizes[rows] == size]
                path = folder / f"{name}_{size:g}A.star"
                write_star(path, {"": _table(particles.select(mine), size)})
                written.append(Written(path, mine))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a table by Warp's rules: coordinates are in pixels of rlnPixelSize; see `Writer`."""
        return read_relion_table(path, context, "rlnPixelSize")


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
