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

    particles: str | None = option(
        None,
        "Particles made elsewhere, which replace picking: a file or folder of any format of docs/programs/formats.md, with "
        "or without angles; classes and columns are kept. Particles without a diameter take the first of the diameters, "
        "and the other options of this section are not used. null: particles are picked.",
    )
    diameters: Sequence[float] = option(
        (240.0,),
        "Particle diameters to pick. With several, each pick gets the diameter that holds all of it, filled or hollow, and "
        "a large particle replaces the fragments found in it; give a diameter for every size, about 1.4 apart.",
        unit="angstrom",
        minimum=1,
        maximum=100_000,
        length=(1, 20),
        unique=True,
    )
    threshold: float = option(
        3.0,
        "Lowest pick score, in robust standard deviations of the tomogram's response. A lower threshold finds more particles "
        "and more false picks, which clustering must separate; with several diameters 4 to 5 is a good start, see "
        "docs/picking.md.",
        minimum=0.1,
        maximum=1000,
    )
    false_picks: float | None = option(
        None,
        "Expected number of false picks per tomogram, used instead of `threshold`: the threshold is the score that so many "
        "picks reach in the tomogram with inverted contrast or with random phases, whichever are fewer. Membranes and other "
        "objects that are not particles are not counted. null to use `threshold`.",
        above=0,
        maximum=1_000_000,
    )
    minimum_distance: float | None = option(
        None,
        "Shortest distance between two picks; null for three quarters of the mean of their diameters.",
        unit="angstrom",
        above=0,
        maximum=100_000,
    )
    border: float = option(
        0.0,
        "Picks closer than this to a face of the tomogram are dropped.",
        unit="angstrom",
        minimum=0,
        maximum=100_000,
    )
    max_particles: int | None = option(
        None,
        "Largest number of picks per tomogram; those with the highest scores are kept. null for no limit.",
        minimum=1,
        maximum=10_000_000,
    )
    clip: float | None = option(
        4.0,
        "Limit of grey values before filtering, which weakens gold beads: values further from the tomogram's median than "
        "this many times the 99th percentile of these distances are clipped. null for no clipping.",
        above=0,
        maximum=1_000_000,
    )
