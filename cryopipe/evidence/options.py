"""Options of the evidence for classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option

FEWEST, FEWEST_OF_ALL = 20, 150
"""Fewest decoys in a tomogram, and in all of them together, whatever the number of particles."""


@dataclass(frozen=True)
class EvidenceOptions(Options):
    """Evidence for and against every class."""

    SECTION: ClassVar[str] = "evidence"

    decoys: bool = option(
        False,
        "Whether decoys are picked where there are no particles, in tomograms with inverted contrast and with random "
        "phases, and embedded and averaged beside the particles. They give every class a q-value, every particle a local "
        "false discovery rate, and the resolution that picked noise reaches; a class that reaches no more has no "
        "resolution. Up to a third more run time.",
    )
    decoy_fraction: float = option(
        0.33,
        "Largest number of decoys in a tomogram, as a fraction of its particles; at least 20 are allowed, and at least "
        "150 in all tomograms together.",
        above=0,
        maximum=1,
    )
    decoys_per_tomogram: int = option(
        300, "Largest number of decoys in a tomogram.", minimum=10, maximum=100_000
    )


def fewest_decoys(tomograms: int) -> int:
    """Return the fewest decoys in each of so many tomograms.

    Examples
    --------
    >>> fewest_decoys(1), fewest_decoys(4), fewest_decoys(100)
    (150, 38, 20)
    """
    return max(FEWEST, math.ceil(FEWEST_OF_ALL / max(1, tomograms)))
