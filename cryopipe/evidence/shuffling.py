"""Random positions of particles in the same volume: displaced, inside borders and mask, and not too near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe.evidence.specimen import Specimen

FloatArray = NDArray[np.float64]

ACROSS = 3.0
"""Largest displacement along x and y, in multiples of the reach: densities that vary over larger distances are kept."""
ROUNDS = 30
"""Draws of positions that are outside the mask or too near others; what is then left stays."""


@dataclass(frozen=True)
class Region:
    """Where particles of a tomogram can be.

    Attributes
    ----------
    low, high
        (3,) x, y, z, angstrom.
    specimen
        With the mask.
    """

    low: FloatArray
    high: FloatArray
    specimen: Specimen

    def allowed(self, positions: FloatArray) -> NDArray[np.bool_]:
        """Return (n,) which positions (n, 3) x, y, z, angstrom, are inside the mask."""
        if self.specimen.mask is None:
            return np.ones(len(positions), bool)
        voxels = np.rint(positions / self.specimen.voxel_size).astype(np.int64)
        voxels = np.clip(voxels, 0, np.array(self.specimen.shape_zyx[::-1]) - 1)
        return np.asarray(self.specimen.mask[voxels[:, 2], voxels[:, 1], voxels[:, 0]]).astype(float) > 0


def region_of(positions: FloatArray, specimen: Specimen, margin: float) -> Region:
    """Return where the particles of a tomogram can be.

    Along z this is the range of the particles, since the ice is thinner than the volume; along x and y the volume without
    `margin`, angstrom.
    """
    high = (np.array(specimen.shape_zyx[::-1]) - 1.0) * specimen.voxel_size - margin
    low = np.full(3, margin)
    bottom, top = positions[:, 2].min(), positions[:, 2].max()
    # the range of n uniform numbers is (n - 1) / (n + 1) of their interval
    beyond = (top - bottom) / max(len(positions) - 1, 1)
    low[2], high[2] = bottom - beyond, top + beyond
    return Region(np.minimum(low, positions.min(axis=0)), np.maximum(high, positions.max(axis=0)), specimen)


def shuffled_positions(
    positions: FloatArray, region: Region, reach: float, nearest: float, copies: int, rng: np.random.Generator
) -> FloatArray:
    """Displace all particles of a tomogram at random.

    Parameters
    ----------
    positions
        (n, 3) x, y, z, angstrom.
    region
        Displacements that leave it are reflected at its borders.
    reach
        Angstrom; displacements are uniform up to this along z and up to `ACROSS` times this along x and y.
    nearest
        Angstrom; particles are not nearer to each other.
    copies
        Number of independent results.

    Returns
    -------
    (copies, n, 3).
    """
    count = len(positions)
    amplitude = np.array([ACROSS * reach, ACROSS * reach, reach])
    original = np.tile(positions, (copies, 1))
    # copies are far apart along x, so that one search finds the neighbours in all of them
    apart = np.zeros((copies * count, 3))
    apart[:, 0] = np.repeat(np.arange(copies), count) * (region.high[0] - region.low[0] + 10 * nearest + 1)
    new = original.copy()
    redraw = np.arange(len(original))
    for _ in range(ROUNDS):
        drawn = original[redraw] + rng.uniform(-1, 1, (len(redraw), 3)) * amplitude
        new[redraw] = _reflected(drawn, region.low, region.high)
        outside = redraw[~region.allowed(new[redraw])]
        pairs = cKDTree(new + apart).query_pairs(nearest * (1 - 1e-9), output_type="ndarray")
        redraw = np.union1d(outside, pairs.max(axis=1) if len(pairs) else pairs[:, 0])
        if not len(redraw):
            break
    return new.reshape(copies, count, 3)


def _reflected(positions: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    size = np.maximum(high - low, 1e-9)
    folded = np.mod(positions - low, 2 * size)
    return low + np.minimum(folded, 2 * size - folded)
