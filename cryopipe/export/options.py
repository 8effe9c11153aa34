"""Options of the export, and the properties of a tomogram that its writers use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option
from cryopipe.particle_formats import FORMATS
from cryopipe.tomograms import signed_tilts


@dataclass(frozen=True)
class ExportOptions(Options):
    """Files for other software."""

    SECTION: ClassVar[str] = "export"

    formats: Sequence[str] = option(
        ("relion", "relion5"),
        "Formats to write, each in a folder of its name in results; relion is the format of RELION 3.1, which newer "
        "versions also read.",
        choices=list(FORMATS),
        unique=True,
    )
    clusters: str | Sequence[int] = option(
        "recognised",
        "Clusters to export: recognised (those that are not likely to be gold, a face of the tomogram, noise or too few "
        "particles, and those that you accepted or named; all, with a warning, if there are none), all, or a list of their "
        "numbers such as [1, 3]. Unassigned particles are in a file of their own for relion, except with a list.",
        pattern="^(recognised|all)$",
        form="recognised, all, or a list",
        minimum=1,
        maximum=100_000,
        unique=True,
    )
    subtomograms: bool = option(
        False,
        "For relion, also extract subtomograms from the original tomograms at their own voxel sizes, with one missing-wedge "
        "volume per tilt range.",
    )
    box_width: float | None = option(
        None,
        "Edge length of those boxes; null: as the boxes for learning features.",
        unit="angstrom",
        minimum=1,
        maximum=100_000,
    )
    tilt_series_pixel_size: float | None = option(
        None,
        "Pixel size of the tilt series, for relion4, relion5 and eman2, of tomograms for which the table has no "
        "tilt_series_pixel_size; null: the tomograms' voxel size (no binning).",
        unit="angstrom",
        minimum=0.1,
        maximum=1000,
    )
    binned_by: str = option(
        "fourier",
        "Method by which the tomograms were binned; averaging (the mean of blocks of voxels) shifts the voxels' centres "
        "by half a voxel minus half a pixel.",
        choices=["fourier", "averaging"],
    )
    relion_tomograms: str | None = option(
        None,
        "The tomograms.star of your RELION 4 or 5 project; positions then refer to its tomogram sizes, and the "
        "optimisation set refers to it. null: a tomograms.star without the tilt series is written.",
    )
    tilt_hand: int = option(
        -1, "RELION's rlnTomoHand for a tomograms.star that cryopipe writes.", choices=[-1, 1]
    )


@dataclass(frozen=True)
class TomogramRecord:
    """Properties of a tomogram for the writers.

    Attributes
    ----------
    name
        Name in the tomogram table.
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
        Name in other programs, if different.
    tilt_axis
        Tilt axis and sense; see `cryopipe.tomograms.Tomogram`.
    tilt_series
        File with the geometry of the tilt series, if known.
    tilt_series_pixel_size
        Angstrom, if known; otherwise that of the options.
    unbinned_size
        x, y, z in pixels of the tilt series, if known.
    """

    name: str
    path: str
    shape_zyx: tuple[int, int, int]
    voxel_size: float
    tilt_range: tuple[float, float]
    contrast: str
    exported_name: str | None = None
    tilt_axis: str = "y"
    tilt_series: str | None = None
    tilt_series_pixel_size: float | None = None
    unbinned_size: tuple[int, int, int] | None = None

    @property
    def tilts(self) -> tuple[float, ...]:
        """Lowest and highest tilt about +y, or about +x; see `cryopipe.tomograms.signed_tilts`."""
        return signed_tilts(self.tilt_range, self.tilt_axis)
