"""Options of the averages put back into the tomograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ReembeddingOptions(Options):
    """Averages put back into the tomograms."""

    SECTION: ClassVar[str] = "reembedding"

    threshold: str = option(
        "sigma",
        "What sets the surface of an average in the labels; sigma, a number of standard deviations, or mass, the "
        "fraction of its density that the surface encloses.",
        choices=["sigma", "mass"],
    )
    sigma: float = option(
        2.0,
        "Height of the surface above the average's mean, in its standard deviations, with threshold sigma.",
        above=0,
        maximum=1000,
    )
    mass_fraction: float = option(
        0.5,
        "Fraction of the density above the average's mean that the surface encloses, with threshold mass.",
        above=0,
        maximum=1,
    )
    particles: str = option(
        "kept",
        "Place the particles that went into the average (kept), or all particles of the cluster (all).",
        choices=["kept", "all"],
    )
