"""Options of the rescan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class RescanOptions(Options):
    """Search of all tomograms with the averages of a run, on request (`snakemake rescan`)."""

    SECTION: ClassVar[str] = "rescan"

    false_picks: float = option(
        1.0,
        "Expected number of false picks per tomogram and average, which sets the threshold of the search.",
        above=0,
        maximum=1_000_000,
    )
    resolution: float | None = option(
        None,
        "Finest resolution of the search; null for the particle's diameter divided by 3.5. The average's own resolution "
        "limits it, too. The cost grows as its sixth power.",
        unit="angstrom",
        minimum=2,
        maximum=1000,
    )
