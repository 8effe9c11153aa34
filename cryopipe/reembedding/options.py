"""What the section `reembedding` of the configuration says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReembeddingOptions:
    """Options of the section `reembedding`; the schema holds their meaning and defaults.

    Attributes
    ----------
    threshold
        "sigma" or "mass": which of the next two sets the level of the labels' surface.
    sigma
        Standard deviations of the average above its mean.
    mass_fraction
        Fraction of the average's density above its mean that the surface encloses.
    particles
        "kept" places only particles that went into the average, "all" places all of the cluster.
    """

    threshold: str = "sigma"
    sigma: float = 2.0
    mass_fraction: float = 0.5
    particles: str = "kept"
