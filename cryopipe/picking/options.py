"""Options of particle picking; the schema's section `pick` has the same keys and their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PickOptions:
    """What to look for and how sure to be.

    Attributes
    ----------
    diameters
        Particle diameters, angstrom.
    threshold
        Lowest score of a pick, in robust standard deviations of the tomogram's response.
    minimum_distance
        Shortest distance of two picks, angstrom; None for half the diameter.
    border
        Picks nearer than this to a face of the tomogram are dropped, angstrom.
    max_particles
        Highest number of picks per tomogram, the best ones being kept; None for no limit.
    clip
        Voxels further from the tomogram's median than this many times the 99th percentile of such distances
        are clipped there before filtering; None leaves them.
    """

    diameters: Sequence[float] = (240.0,)
    threshold: float = 3.0
    minimum_distance: float | None = None
    border: float = 0.0
    max_particles: int | None = None
    clip: float | None = 4.0
