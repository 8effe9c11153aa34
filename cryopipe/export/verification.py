"""Verification of exported files: poses read back are compared with those that were written."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from cryopipe.errors import DataError
from cryopipe.export.particle_set import ParticlePoses

POSITION_LIMIT = 0.1
"""Voxels of the tomogram."""
ANGLE_LIMIT = 0.1
"""Degrees."""
_REMEDY = "this is a fault of cryopipe: please report it with the file"


@dataclass(frozen=True)
class Deviation:
    """Largest differences between the poses in a file and the exported poses.

    Attributes
    ----------
    position
        Voxels of the tomogram.
    angle
        Degrees.
    """

    position: float
    angle: float


def verify(
    path: str | os.PathLike[str], meant: ParticlePoses, found: ParticlePoses, angles: bool = True
) -> Deviation:
    """Compare the poses read from a file with those that were to be written.

    Parameters
    ----------
    path
        The file, for messages.
    meant, found
        ParticlePoses in the same order.
    angles
        Whether the file holds rotations; otherwise they are not compared, and the angle is 0.

    Raises
    ------
    DataError
        If particles are missing, in another tomogram, or differ by more than 0.1 voxel or 0.1 degree.
    """
    if len(found) != len(meant):
        raise DataError(f"contains {len(found)} particles, not {len(meant)}", file=path, remedy=_REMEDY)
    if found.tomograms != meant.tomograms:
        row = next(i for i, name in enumerate(meant.tomograms) if found.tomograms[i] != name)
        raise DataError(
            f"particle {row + 1} is in tomogram {found.tomograms[row]!r}, not {meant.tomograms[row]!r}",
            file=path,
            remedy=_REMEDY,
        )
    if not len(meant):
        return Deviation(0.0, 0.0)
    position = float(np.linalg.norm(found.positions - meant.positions, axis=1).max())
    compared = found.rotations if angles else meant.rotations
    angle = float(np.degrees((compared.inv() * meant.rotations).magnitude()).max())
    if not position <= POSITION_LIMIT:
        raise DataError(f"positions are off by up to {position:.3g} voxels", file=path, remedy=_REMEDY)
    if not angle <= ANGLE_LIMIT:
        raise DataError(f"rotations are off by up to {angle:.3g} degrees", file=path, remedy=_REMEDY)
    return Deviation(position, angle)
