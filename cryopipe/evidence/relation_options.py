"""Options of the relations of classes to their surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class RelationOptions(Options):
    """Relations of classes to the imaging, to membranes and to each other."""

    SECTION: ClassVar[str] = "relations"

    membranes: str | None = option(
        None,
        "MRC files in which voxels of membranes are above 0, of the shape of the tomograms: a path with {tomogram} in "
        "place of the tomogram's name; null if there are none. Distances to membranes are then measured.",
    )
    reach: float | None = option(
        None,
        "Largest distance at which particles are counted as neighbours; null: four picking diameters.",
        unit="angstrom",
        above=0,
        maximum=100_000,
    )
