"""Options of template matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class TemplateOptions(Options):
    """Template matching: compare every box with given maps in all rotations inside its missing wedge."""

    SECTION: ClassVar[str] = "features.template"

    maps: str | None = option(
        None,
        "Directory of density maps (.mrc, .map) of the expected particles, with particles bright and the voxel size in "
        "the header; required unless features.weights names the model of an earlier run. A file's name is the class's "
        "name.",
    )
    angular_step: float = option(
        20.0,
        "Every rotation is within this angle of one that is compared. Time grows with its third power.",
        unit="degree",
        minimum=2,
        maximum=60,
    )
    max_shift: float = option(
        20.0,
        "Largest displacement of a particle from the centre of its box that is compared, in steps of one voxel.",
        unit="angstrom",
        minimum=0,
        maximum=1000,
    )
    resolution: float = option(
        40.0,
        "Finest resolution of the comparison; at least two voxels.",
        unit="angstrom",
        minimum=1,
        maximum=1000,
    )
    defocus: float | None = option(
        None,
        "Mean underfocus by which the maps are filtered before they are compared, for tomograms without correction of "
        "the contrast transfer function's amplitude; null for none.",
        unit="micrometre",
        minimum=0,
        maximum=20,
    )
    voltage: float = option(300.0, "Acceleration voltage for `defocus`.", unit="kV", minimum=10, maximum=3000)
