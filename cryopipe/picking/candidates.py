"""Candidates for picks of one or several diameters, and their reduction to one per particle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryopipe.picking.balls import find_balls
from cryopipe.picking.blobs import Scale, find_maxima
from cryopipe.picking.maxima import Maxima
from cryopipe.picking.one_per_particle import select_particles
from cryopipe.picking.source import Source

logger = logging.getLogger(__name__)

MARGIN = 0.75
"""Fraction of the threshold, in the volume's own standard deviations, above which maxima are found whose scores are measured
by the statistics of another volume."""


@dataclass(frozen=True)
class Search:
    """What is searched for in a tomogram.

    Attributes
    ----------
    diameters
        Angstrom.
    voxel_size
        Angstrom.
    distance
        Shortest distance of two picks, angstrom; None to use their diameters.
    border
        Distance from the faces within which nothing is picked, angstrom.
    chunk_voxels
        Most voxels that are filtered at a time.
    """

    diameters: Sequence[float]
    voxel_size: float
    distance: float | None = None
    border: float = 0.0
    chunk_voxels: int = 2**24

    def find(self, source: Source, threshold: float, like: Sequence[Maxima] | None = None) -> list[Maxima]:
        """Return the maxima of at least a score for every diameter.

        `like` gives the statistics by which the scores are measured, as found in another volume; by default those of
        this one.
        """
        found = []
        for number, diameter in enumerate(self.diameters):
            what = f"picking {diameter:g} A in {source.name}"
            size = diameter / self.voxel_size
            lowest = threshold if like is None else MARGIN * threshold
            if len(self.diameters) == 1:
                one = find_maxima(source, Scale.for_diameter(size), lowest, self.chunk_voxels, what)
            else:
                one = find_balls(source, size, lowest, what)
            if like is not None:
                one = one.measured_by(like[number])
            one = one.select((one.scores >= threshold) & self._allowed(one.positions, source))
            logger.info("%s: %d maxima above %g sigma", what, len(one.heights), threshold)
            found.append(one)
        return found

    def choose(self, found: Sequence[Maxima], lowest: float) -> tuple[NDArray[np.float64], ...]:
        """Keep one candidate of at least a score per particle.

        Returns
        -------
        Positions z, y, x in voxels, scores, and diameters in angstrom; best first.
        """
        found = [one.select(one.scores >= lowest) for one in found]
        positions = np.concatenate([one.positions for one in found])
        scores = np.concatenate([one.scores for one in found])
        energies = np.concatenate([one.energies for one in found])
        diameters = np.repeat(np.array(self.diameters, dtype=float), [len(one.heights) for one in found])
        distance = None if self.distance is None else self.distance / self.voxel_size
        kept = select_particles(positions, diameters / self.voxel_size, energies, distance)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        return positions[kept], scores[kept], diameters[kept]

    def _allowed(self, positions: NDArray[np.float64], source: Source) -> NDArray[np.bool_]:
        """Return whether each position z, y, x (n, 3) in voxels is at a known voxel and inside the border."""
        edge = np.array(source.volume.shape)
        margin = self.border / self.voxel_size
        kept = np.all((positions >= margin - 0.5) & (positions <= edge - 0.5 - margin), axis=1)
        inside = np.flatnonzero(kept)
        kept[inside] = source.region.holds(np.rint(positions[inside]).astype(np.int64))
        return kept
