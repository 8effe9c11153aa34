"""Random placement of particles of arbitrary shape without overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BODY = 0.5
"""Density above which a voxel belongs to the body of a particle: half of protein's. Bodies do not overlap."""
_ROUNDS = 40
_CANDIDATES = 256
_PROBES = 40


class Packer:
    """Occupied voxels of a volume, and the search for free positions.

    Parameters
    ----------
    taken
        (z, y, x) bool; occupied voxels. Changed in place.
    rng
        Source of randomness.
    """

    def __init__(self, taken: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.taken = taken
        self._flat = taken.reshape(-1)
        self._rng = rng

    def place(self, body: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Find a random free position for a body and mark its voxels as occupied.

        Parameters
        ----------
        body
            (m, 3) voxels z, y, x of the body, relative to its centre.

        Returns
        -------
        (3,) voxel z, y, x of the centre, with the whole body inside the volume; None if no free position was found
        in 10,000 trials.
        """
        shape = np.array(self.taken.shape)
        low, high = -body.min(axis=0), shape - 1 - body.max(axis=0)
        if (low > high).any():
            return None
        strides = np.array([shape[1] * shape[2], shape[2], 1])
        offsets = body @ strides
        probes = offsets[self._rng.integers(len(offsets), size=min(_PROBES, len(offsets)))]
        for _ in range(_ROUNDS):
            centres = self._rng.integers(low, high + 1, size=(_CANDIDATES, 3))
            first = centres @ strides
            # Testing a few voxels of the body first excludes most positions quickly.
            likely = ~self._flat[first[:, None] + probes].any(axis=1)
            for centre, start in zip(centres[likely], first[likely], strict=True):
                voxels = start + offsets
                if not self._flat[voxels].any():
                    self._flat[voxels] = True
                    return np.asarray(centre, dtype=np.int64)
        return None


def body_of(patch: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the voxels (m, 3) z, y, x of the body, relative to the middle of the patch; at least one."""
    inside = np.argwhere(patch > min(_BODY, 0.5 * float(patch.max())))
    return np.asarray(inside - patch.shape[0] // 2, dtype=np.int64)
