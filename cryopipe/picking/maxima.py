"""Maxima of the response to a filter."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_NOISE_PEAK = 4.0
"""Score that about one in a few thousand maxima of noise reaches."""
_TIE = 1e-9
"""Orders maxima that do not exceed noise by their scores."""


@dataclass(frozen=True)
class Maxima:
    """Maxima of the response to one filter.

    Attributes
    ----------
    positions
        z, y, x in voxels, (n, 3).
    heights
        Response at the maxima, (n,).
    median, sigma
        Median and robust standard deviation of the response.
    """

    positions: NDArray[np.float64]
    heights: NDArray[np.float64]
    median: float
    sigma: float

    @property
    def scores(self) -> NDArray[np.float64]:
        """Heights above the median in robust standard deviations; 0 if the response is constant."""
        return (self.heights - self.median) / self.sigma if self.sigma > 0 else 0 * self.heights

    @property
    def energies(self) -> NDArray[np.float64]:
        """Squares of the heights above the median, less that of the highest maxima of noise; at least 0."""
        above = (self.heights - self.median) ** 2 - (_NOISE_PEAK * self.sigma) ** 2
        return np.maximum(above, 0) + _TIE * self.scores

    def measured_by(self, other: Maxima) -> Maxima:
        """Return the maxima with the statistics of another response."""
        return replace(self, median=other.median, sigma=other.sigma)

    def select(self, chosen: NDArray[np.bool_]) -> Maxima:
        """Return the chosen maxima."""
        return replace(self, positions=self.positions[chosen], heights=self.heights[chosen])
