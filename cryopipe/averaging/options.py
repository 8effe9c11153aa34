"""Options of alignment and averaging."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cryopipe.config.option import Options, option

MASK_MARGIN = 1.5
"""Diameter of the mask over that of the picking filter."""


@dataclass(frozen=True)
class AveragingOptions(Options):
    """Alignment and averages of each cluster."""

    SECTION: ClassVar[str] = "averaging"

    voxel_size: float | None = option(
        None,
        "Voxel size of the boxes that are averaged; they are cut anew about the same particles, as wide as those for "
        "learning. null averages the boxes that the features were learned from.",
        unit="angstrom",
        minimum=0.1,
        maximum=1000,
    )
    symmetry: str = option(
        "C1",
        "Point group imposed on every average, in RELION's setting of axes.",
        pattern="^([CcDd][1-9][0-9]?|[TtOo])$",
        form="C1 to C99, D1 to D99, T or O",
    )
    mask_diameter: float | None = option(
        None,
        "Diameter of the soft mask about the average; null takes one and a half times the picked diameter, at most "
        "four fifths of the box.",
        unit="angstrom",
        above=0,
        maximum=100_000,
    )
    max_shift: float = option(
        40.0,
        "Farthest that a particle's centre may lie from its pick.",
        unit="angstrom",
        minimum=0,
        maximum=10_000,
    )
    starts: int = option(
        3,
        "Initial models per half-set, from random orientations; the likeliest goes on.",
        minimum=1,
        maximum=100,
    )
    start_boxes: int = option(
        150, "Most boxes per half-set that make the initial models.", minimum=1, maximum=1_000_000
    )
    start_resolution: float = option(
        65.0,
        "Resolution of the initial models and of the first search over all orientations.",
        unit="angstrom",
        minimum=0.2,
        maximum=10_000,
    )
    start_iterations: int = option(
        12, "Rounds of expectation and maximisation of an initial model.", minimum=1, maximum=1000
    )
    angular_step: float = option(
        15.0,
        "The search over all orientations leaves none farther than this from one tried; refinement is continuous.",
        unit="degree",
        minimum=1,
        maximum=90,
    )
    refinement_iterations: int = option(
        8,
        "Most rounds of refinement; it ends earlier when the resolution no longer improves.",
        minimum=1,
        maximum=1000,
    )
    refinement_boxes: int = option(
        2500,
        "Most boxes per half-set that take part in these rounds, drawn at random. The map that they end with gives the "
        "others of a larger cluster their poses, and all make the average.",
        minimum=10,
        maximum=10_000_000,
    )
    finest_resolution: float = option(
        0.0,
        "Band limit of the data; nothing finer is used or reported. 0 takes Nyquist's.",
        unit="angstrom",
        minimum=0,
        maximum=10_000,
    )
    outlier_deviations: float = option(
        3.0,
        "A particle is left out of the average when its score lies more robust standard deviations than this below "
        "its half-set's median.",
        above=0,
        maximum=1000,
    )
    recognised_resolution: float = option(
        40.0,
        "A cluster whose half-maps agree to finer than this counts as recognised.",
        unit="angstrom",
        above=0,
        maximum=10_000,
    )
    merge_correlation: float = option(
        0.9,
        "Averages that correlate better than this once aligned are offered as one cluster.",
        minimum=0,
        maximum=1,
    )
    merge: bool = option(
        False, "Whether clusters that are offered as one become one in results/averages/particles.star."
    )
    known_maps: str = option(
        "", "A directory of maps (MRC, particles bright) that every average is compared with; empty for none."
    )

    def for_particles(self, diameter: float) -> AveragingOptions:
        """Return the options with a mask for particles picked at `diameter` (angstrom), unless one was asked for."""
        return self if self.mask_diameter else replace(self, mask_diameter=MASK_MARGIN * diameter)
