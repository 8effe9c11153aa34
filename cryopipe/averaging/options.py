"""Options of alignment and averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option

MASK_MARGIN = 1.5
"""Diameter of the mask over that of the picking filter."""


@dataclass(frozen=True)
class AveragingOptions(Options):
    """Alignment and averaging of each cluster."""

    SECTION: ClassVar[str] = "averaging"

    voxel_size: float | None = option(
        None,
        "Voxel size of the averaged boxes, which are cut out again at the centres of the particles with the width of the "
        "boxes for learning; null for the voxel size of those.",
        unit="angstrom",
        minimum=0.1,
        maximum=1000,
    )
    ctf: str = option(
        "limit",
        "What is done about the contrast transfer function of tomograms with a defocus in the table: limit uses and reports "
        "nothing finer than its first zero, flip corrects the phases of the averaged boxes, corrected states that the "
        "tomograms are corrected already. Tomograms without a defocus are taken as corrected.",
        choices=["limit", "flip", "corrected"],
    )
    symmetry: str = option(
        "C1",
        "Point group imposed on every average, in RELION's convention of axes.",
        pattern="^([CcDd][1-9][0-9]?|[TtOo])$",
        form="C1 to C99, D1 to D99, T or O",
    )
    mask_diameter: float | None = option(
        None,
        "Diameter of the soft mask around the average; null uses 1.5 times the picked diameter, at most "
        "0.8 of the box.",
        unit="angstrom",
        above=0,
        maximum=100_000,
    )
    max_shift: float = option(
        40.0,
        "Largest distance between a particle's centre and its pick.",
        unit="angstrom",
        minimum=0,
        maximum=10_000,
    )
    initial_models: int = option(
        3,
        "Number of initial models per half-set, from random orientations; the most likely one is used.",
        minimum=1,
        maximum=100,
    )
    initial_boxes: int = option(
        150, "Largest number of boxes per half-set for the initial models.", minimum=1, maximum=1_000_000
    )
    initial_resolution: float = option(
        65.0,
        "Resolution of the initial models and of the first search over all orientations.",
        unit="angstrom",
        minimum=0.2,
        maximum=10_000,
    )
    initial_iterations: int = option(
        12, "Rounds of expectation-maximisation of an initial model.", minimum=1, maximum=1000
    )
    angular_step: float = option(
        15.0,
        "Largest angle between any orientation and the nearest one in the search over all orientations; refinement is "
        "continuous.",
        unit="degree",
        minimum=1,
        maximum=90,
    )
    refinement_iterations: int = option(
        8,
        "Largest number of refinement rounds; refinement ends earlier if the resolution no longer improves.",
        minimum=1,
        maximum=1000,
    )
    refinement_boxes: int = option(
        2500,
        "Largest number of boxes per half-set in these rounds, drawn at random. All boxes of a larger cluster are then "
        "aligned to the refined map and averaged.",
        minimum=10,
        maximum=10_000_000,
    )
    finest_resolution: float = option(
        0.0,
        "Band limit of the data; nothing finer is used or reported. 0 means the Nyquist limit.",
        unit="angstrom",
        minimum=0,
        maximum=10_000,
    )
    outlier_deviations: float = option(
        3.0,
        "A particle is excluded from the average if its score is more than this number of robust standard deviations "
        "below the median of its half-set.",
        above=0,
        maximum=1000,
    )
    double_distance: float = option(
        0.5,
        "Aligned particles nearer to each other than this fraction of the extent of their average, in the same cluster or "
        "in two, are one particle: the one with the better alignment score is kept. 0 keeps all.",
        minimum=0,
        maximum=2,
    )
    merge_correlation: float = option(
        0.9,
        "Merging of two clusters is proposed if the correlation of their superposed averages is at least this.",
        minimum=0,
        maximum=1,
    )
    merge: bool = option(
        False, "Whether the proposed mergers are applied in results/averages/particles.star."
    )
    known_maps: str = option(
        "", "Directory of maps (MRC, particles bright) with which every average is compared; empty for none."
    )
