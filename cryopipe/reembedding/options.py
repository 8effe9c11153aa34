"""Options of re-embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ReembeddingOptions(Options):
    """Placement of averages in the tomograms at the particles' poses."""

    SECTION: ClassVar[str] = "reembedding"

    threshold: str = option(
        "sigma",
        "Rule for the threshold of an average in the labels: sigma, a number of standard deviations above the mean, or "
        "mass, the fraction of the density that the surface encloses.",
        choices=["sigma", "mass"],
    )
    sigma: float = option(
        2.0,
        "Threshold in standard deviations above the average's mean, for threshold sigma.",
        above=0,
        maximum=1000,
    )
    mass_fraction: float = option(
        0.5,
        "Fraction of the density above the average's mean that the surface encloses, for threshold mass.",
        above=0,
        maximum=1,
    )
    particles: str = option(
        "kept",
        "Particles to place: those included in the average (kept), or all particles of the cluster (all).",
        choices=["kept", "all"],
    )
