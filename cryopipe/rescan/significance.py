"""Significance of the scores of a search: how many maxima of this height are expected where there are no particles.

The null is the search of the tomogram with inverted contrast, which is known without further correlations: its scores are the
negative scores. The inverted maxima beside particles are left out, because the fringes of particles cause them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe.rescan.score_maxima import Candidates
from cryopipe.volume.suppression import suppress

TAIL = 100
"""Number of the highest inverted maxima from which the tail is estimated."""
HIGHEST = 0.25
"""Largest fraction of all inverted maxima that are in the tail."""
FEWEST = 20
"""Fewest inverted maxima; with fewer, nothing is significant."""
MOST_EXPECTED = 1e9
BESIDE = 2.0
"""Distance from a found particle within which inverted maxima are left out, radii."""
LEAST_SEARCHED = 0.2
"""If a smaller fraction of the tomogram is not beside a found particle, the inverted maxima beside them count, too."""
ROUNDS = 4
SHARP = 0.5
"""Smallest height above the opened score map, as a fraction of the score: what rises less is a plateau or a slope."""


@dataclass(frozen=True)
class Tail:
    """Expected number of maxima of the null with a score of at least s: count * ((1 - s^2) / (1 - start^2))^power.

    Correlation coefficients with noise are distributed like that, with a power of half the number of independent values
    under the mask. The power is estimated, so that correlations between places and between rotations, and noise that is not
    Gaussian, are accounted for.
    """

    start: float
    power: float
    count: float

    def expected(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n,) the expected numbers; for scores below `start` extrapolated, at most `MOST_EXPECTED`."""
        exponent = np.log(self.count) - self.power * (_strength(scores) - _strength(np.array(self.start)))
        return np.exp(np.clip(exponent, -600.0, np.log(MOST_EXPECTED)))


def fit_tail(scores: NDArray[np.float64], ratio: float) -> Tail:
    """Estimate the tail of the null.

    Parameters
    ----------
    scores
        (n,) of the maxima of the null, which are a radius apart.
    ratio
        The searched volume divided by the volume in which these maxima lie.

    Returns
    -------
    The tail; with fewer than `FEWEST` maxima one that expects all of them at every score.
    """
    ordered = np.sort(scores)[::-1]
    used = min(TAIL, int(HIGHEST * len(ordered)))
    if len(ordered) < FEWEST:
        return Tail(0.0, 0.0, ratio * max(1, len(ordered)))
    start = float(ordered[used])
    # maximum likelihood for an exponential distribution, without its bias
    mean = float(np.mean(_strength(ordered[:used]) - _strength(np.array(start))))
    return Tail(start, (used - 1) / used / max(mean, 1e-9), ratio * used)


def _strength(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.log1p(-(np.clip(scores, 0, 1 - 1e-9) ** 2)))


def significant(
    found: Candidates,
    inverted: Candidates,
    places: NDArray[np.float64],
    radius: float,
    false_picks: float,
) -> tuple[Candidates, NDArray[np.float64]]:
    """Return the candidates of which at most `false_picks` are expected to be false.

    Parameters
    ----------
    found, inverted
        Maxima in the tomogram and in the tomogram with inverted contrast.
    places
        (m, 3) z, y, x, search voxels: a sample of the searched places.
    radius
        Of the particle, search voxels; of maxima that are nearer to each other, the highest is kept.
    false_picks
        Expected number of false picks in the tomogram.

    Returns
    -------
    The candidates, most significant first, and (n,) the number of false picks expected at their heights.
    """
    found, inverted = (_sharp_and_apart(one, radius) for one in (found, inverted))
    heights = found.scores
    # what exceeds all inverted maxima is left out from the start, so that fringes do not hide their own particles
    chosen = heights > inverted.scores.max(initial=0.0)
    expected = np.zeros(len(heights))
    for _ in range(ROUNDS):
        certain = found.positions[chosen]
        beside = _near(inverted.positions, certain, BESIDE * radius)
        searched = float(np.mean(~_near(places, certain, BESIDE * radius))) if len(places) else 1.0
        if searched < LEAST_SEARCHED:
            beside, searched = np.zeros_like(beside), 1.0
        ratio = 1 / searched
        previous, expected = chosen, fit_tail(inverted.scores[~beside], ratio).expected(heights)
        chosen = expected <= false_picks
        if np.array_equal(chosen, previous):
            break
    return found.select(chosen), expected[chosen]


def _sharp_and_apart(candidates: Candidates, radius: float) -> Candidates:
    candidates = candidates.select(candidates.sharpness >= SHARP * candidates.scores)
    kept = suppress(candidates.positions, candidates.scores, np.full(len(candidates), radius))
    return candidates.select(kept)


def _near(places: NDArray[np.float64], others: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    if not len(others) or not len(places):
        return np.zeros(len(places), bool)
    return np.isfinite(cKDTree(others).query(places, distance_upper_bound=distance)[0])
