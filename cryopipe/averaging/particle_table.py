"""Tables of an alignment: the particles with their poses, and the FSC."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.averaging.alignment import AlignmentResult
from cryopipe.files.cluster_averages import RESOLUTION, RESOLUTION_05, SYMMETRY
from cryopipe.particles import pose_columns

NO_RESOLUTION = 999.0
"""RELION's value for the resolution of shell 0, which is infinite."""


def particle_table(
    particles: pd.DataFrame,
    result: AlignmentResult,
    centring_voxels: NDArray[np.int64] | NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Return the particles with their poses, half-sets and scores.

    Parameters
    ----------
    particles
        n rows in the order of the aligned boxes; their columns are kept.
    result
        The alignment.
    centring_voxels
        (n, 3) x, y, z: particle shifts that were already removed from the boxes; None if none were.

    Returns
    -------
    The table with RELION's angles (degrees) and origins (angstrom, the negative shift), the half-set, the
    alignment score and whether the particle is in the average.
    """
    shifts = result.shifts_voxels + (0 if centring_voxels is None else centring_voxels)
    new = {
        **pose_columns(result.rotations, shifts * result.voxel_size),
        columns.HALF_SET: result.half_sets,
        columns.ALIGNMENT_SCORE: result.scores,
        columns.ALIGNMENT_KEPT: result.kept.astype(int),
    }
    return particles.reset_index(drop=True).assign(**new)


def fsc_blocks(
    result: AlignmentResult, symmetry: str, ctf_limit: float = 0.0
) -> dict[str, pd.DataFrame | dict[str, object]]:
    """Return the blocks `general` and `fsc` of a cluster's FSC file.

    `general` has no resolution if it was not measured or not reported.
    """
    general: dict[str, object] = {
        "cryopipeParticles": len(result.kept),
        "cryopipeParticlesKept": int(result.kept.sum()),
        "cryopipeVoxelSize": float(result.voxel_size),
        SYMMETRY: symmetry,
        "cryopipeResolutionMeasured": int(result.fsc is not None),
    }
    if ctf_limit > 0:
        general[columns.CTF_LIMIT] = ctf_limit
    for name, value in (
        (RESOLUTION, result.resolution_0143),
        (RESOLUTION_05, result.resolution_05),
    ):
        if math.isfinite(value):
            general[name] = value
    if result.fsc is None:
        return {"general": general}
    fsc = result.fsc
    if math.isfinite(fsc.randomised_from):
        general["cryopipePhasesRandomisedFrom"] = fsc.randomised_from
    resolution = fsc.unmasked.resolution
    table = pd.DataFrame(
        {
            "rlnSpectralIndex": np.arange(len(resolution)),
            "rlnResolution": fsc.unmasked.frequency,
            "rlnAngstromResolution": np.where(np.isfinite(resolution), resolution, NO_RESOLUTION),
            "rlnFourierShellCorrelationCorrected": fsc.corrected.correlation,
            "rlnFourierShellCorrelationUnmaskedMaps": fsc.unmasked.correlation,
            "rlnFourierShellCorrelationMaskedMaps": fsc.masked.correlation,
            "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": fsc.randomised.correlation,
        }
    )
    return {"general": general, "fsc": table}
