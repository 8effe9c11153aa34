"""Options of classification by averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ClassificationOptions(Options):
    """Classes of particles decided by averages, started from the clusters of the features."""

    SECTION: ClassVar[str] = "classification"

    method: str = option(
        "features",
        "features: the clusters of the features are the classes. averages: compare every particle with the averages of "
        "more classes than clusters were found, and merge and divide classes until averages of two describe particles "
        "better than one.",
        choices=["features", "averages"],
    )
    start_classes: int | None = option(
        None,
        "Number of classes at the start; null uses two and a half times the clusters of the features, at least 12, and "
        "not more than one class for 20 particles.",
        minimum=1,
        maximum=500,
    )
    rounds: int = option(
        4,
        "Largest number of rounds after the number of classes is decided; they end earlier if the likelihood of "
        "particles left out no longer rises.",
        minimum=0,
        maximum=100,
    )
    resolution: float = option(
        60.0, "Finest resolution of the comparison.", unit="angstrom", minimum=0.2, maximum=10_000
    )
    angular_step: float = option(
        20.0,
        "Largest angle between any orientation and the nearest one that is compared; the orientations are rotated at "
        "random in every round.",
        unit="degree",
        minimum=1,
        maximum=90,
    )
    max_shift: float = option(
        15.0,
        "Largest distance between a particle's centre and the centre of its box.",
        unit="angstrom",
        minimum=0,
        maximum=10_000,
    )
    smallest_class: int = option(6, "Fewest particles of a class.", minimum=2, maximum=1_000_000)
    minimum_posterior: float = option(
        0.5,
        "Particles whose most probable class has a posterior below this are unassigned (class 0).",
        minimum=0,
        maximum=1,
    )
