"""Options of particle picking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class PickOptions(Options):
    """Difference-of-Gaussians particle picking."""

    SECTION: ClassVar[str] = "pick"

    diameters: Sequence[float] = option(
        (240.0,),
        "Diameters of the particles to look for; 240 suits ribosomes and, at a low threshold, what is smaller. Each is "
        "looked for on its own; where several answer at one place, the one that fits best stays.",
        unit="angstrom",
        minimum=1,
        maximum=100_000,
        length=(1, 20),
        unique=True,
    )
    threshold: float = option(
        3.0,
        "Lowest score of a pick, in robust standard deviations of the tomogram's response. Clustering sorts wrong "
        "picks out later, so rather too low than too high.",
        minimum=0.1,
        maximum=1000,
    )
    minimum_distance: float | None = option(
        None,
        "Shortest distance of two picks; null takes half the diameter.",
        unit="angstrom",
        above=0,
        maximum=100_000,
    )
    border: float = option(
        0.0,
        "Picks nearer than this to a face of the tomogram are dropped.",
        unit="angstrom",
        minimum=0,
        maximum=100_000,
    )
    max_particles: int | None = option(
        None,
        "Highest number of picks per tomogram, the best ones being kept; null for no limit.",
        minimum=1,
        maximum=10_000_000,
    )
    clip: float | None = option(
        4.0,
        "Gold beads are weakened before filtering; voxels further from the tomogram's median than this many times "
        "the 99th percentile of such distances are clipped there. null leaves them.",
        above=0,
        maximum=1_000_000,
    )
