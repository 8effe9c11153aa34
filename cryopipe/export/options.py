"""Options of the export, and what its writers know of tomograms and averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ExportOptions(Options):
    """Files for other software."""

    SECTION: ClassVar[str] = "export"

    formats: Sequence[str] = option(
        ("relion", "relion5"),
        "What to write; relion is RELION 3.1, whose files newer versions read too; each format gets a folder of its "
        "name in results.",
        choices=["relion", "relion4", "relion5", "warp", "dynamo", "artiax"],
        unique=True,
    )
    subtomograms: bool = option(
        False,
        "For relion, cut boxes from the original tomograms at their own voxel sizes, with one wedge volume per tilt "
        "scheme.",
    )
    box_width: float | None = option(
        None,
        "Edge of those boxes; null takes the width of the boxes that the features were learned from.",
        unit="angstrom",
        minimum=1,
        maximum=100_000,
    )
    tilt_series_pixel_size: float | None = option(
        None,
        "Pixel size of the tilt series that the tomograms were made of, for relion4 and relion5; null takes the "
        "tomograms' voxel size, that is, no binning.",
        unit="angstrom",
        minimum=0.1,
        maximum=1000,
    )
    binned_by: str = option(
        "fourier",
        "How the tomograms were binned; averaging (the mean of blocks of voxels) moves a voxel's centre by half a "
        "voxel less half a pixel.",
        choices=["fourier", "averaging"],
    )
    relion_tomograms: str | None = option(
        None,
        "The tomograms.star of your RELION 4 or 5 project; positions then count in its frames and the optimisation "
        "set refers to it. null writes one with what is known, which lacks the tilt series.",
    )
    tilt_hand: int = option(
        -1, "RELION's rlnTomoHand for a tomograms.star that cryopipe writes.", choices=[-1, 1]
    )


@dataclass(frozen=True)
class TomogramRecord:
    """What the writers know about a tomogram.

    Attributes
    ----------
    name
        As in the tomogram table.
    path
        The MRC file.
    shape_zyx
        Voxels, (z, y, x).
    voxel_size
        Angstrom.
    tilt_range
        Lowest and highest tilt, degrees.
    contrast
        "dark" or "bright" particles.
    exported_name
        What the other programs call it, where that is another name.
    """

    name: str
    path: str
    shape_zyx: tuple[int, int, int]
    voxel_size: float
    tilt_range: tuple[float, float]
    contrast: str
    exported_name: str | None = None
