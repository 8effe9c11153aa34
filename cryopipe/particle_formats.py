"""Formats of particle lists, by the names that options, commands and result folders use.

Imports only the standard library, because the Snakefile imports this module.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParticleFormat:
    """What is known of a format before a file is opened.

    Attributes
    ----------
    program
        The programs that read and write it.
    suffix
        End of the names of its files.
    angles
        Whether it holds the particles' orientations.
    first_voxel
        Coordinate of the centre of a tomogram's first voxel; None if positions are not in voxels of the tomogram.
    per_tomogram
        Whether each file holds the particles of one tomogram, which the file's name states.
    """

    program: str
    suffix: str
    angles: bool = True
    first_voxel: float | None = None
    per_tomogram: bool = False


FORMATS: dict[str, ParticleFormat] = {
    "relion": ParticleFormat("RELION 3.1", ".star", first_voxel=0),
    "relion4": ParticleFormat("RELION 4", ".star"),
    "relion5": ParticleFormat("RELION 5", ".star"),
    "warp": ParticleFormat("Warp and M", ".star", first_voxel=0),
    "dynamo": ParticleFormat("Dynamo", ".tbl", first_voxel=0.5),
    "artiax": ParticleFormat("ArtiaX", ".star", first_voxel=0),
    "stopgap": ParticleFormat("STOPGAP", ".star", first_voxel=1),
    "em": ParticleFormat("cryoCAT, TOM and Artiatomi", ".em", first_voxel=1),
    "imod": ParticleFormat("IMOD", ".mod", angles=False, per_tomogram=True),
    "chimerax": ParticleFormat("ChimeraX", ".cmm", angles=False, per_tomogram=True),
    "copick": ParticleFormat("Copick", ".json", per_tomogram=True),
    "portal": ParticleFormat("CryoET Data Portal", ".ndjson", first_voxel=0, per_tomogram=True),
    "eman2": ParticleFormat("EMAN2", ".json", angles=False, per_tomogram=True),
    "csv": ParticleFormat("tables", ".csv", first_voxel=0),
}
"""The formats; an export writes each into a folder of its name."""
