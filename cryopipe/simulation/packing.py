"""Bodies put into a volume without overlap, by their true shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BODY = 0.5
"""A particle's body is where its density exceeds this: half of protein's, the surface. Bodies do not overlap."""
_ROUNDS = 40
_CANDIDATES = 256
_PROBES = 40


class Packer:
    """Keep the account of which voxels are taken, and find room for bodies.

    Parameters
    ----------
    taken
        (z, y, x) bool; voxels where nothing may be put. Changed in place.
    rng
        Source of randomness.
    """

    def __init__(self, taken: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.taken = taken
        self._flat = taken.reshape(-1)
        self._rng = rng

    def place(self, body: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Find a random free place for a body and take it.

        Parameters
        ----------
        body
            (m, 3) voxels z, y, x of the body about its centre.

        Returns
        -------
        (3,) the centre's voxel z, y, x, the whole body inside the volume; None where none was found in
        10,000 trials.
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
            # A few of its voxels tell of most places that the body does not fit there.
            likely = ~self._flat[first[:, None] + probes].any(axis=1)
            for centre, start in zip(centres[likely], first[likely], strict=True):
                voxels = start + offsets
                if not self._flat[voxels].any():
                    self._flat[voxels] = True
                    return np.asarray(centre, dtype=np.int64)
        return None


def body_of(patch: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the voxels (m, 3) z, y, x of the body about the patch's middle, at least one."""
    inside = np.argwhere(patch > min(_BODY, 0.5 * float(patch.max())))
    return np.asarray(inside - patch.shape[0] // 2, dtype=np.int64)
