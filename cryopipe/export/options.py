"""What the section `export` of the configuration says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ExportOptions:
    """Options of the section `export`; the schema holds their meaning and defaults.

    Attributes
    ----------
    formats
        Names of writers, see `cryopipe.export.WRITERS`.
    subtomograms
        Cut boxes for RELION 3.1 from the original tomograms, with one wedge volume per tilt scheme.
    box_width
        Edge of those boxes, angstrom; None takes that of the boxes the features were learned from.
    tilt_series_pixel_size
        Pixel size of the tilt series behind the tomograms, angstrom; None takes the tomogram's voxel size.
    binned_by
        "fourier" if voxel i of a tomogram lies at i * binning of the unbinned one, "averaging" if it is the
        mean of unbinned voxels, whose centre is at i * binning + (binning - 1) / 2.
    relion_tomograms
        tomograms.star of an existing RELION 4 or 5 project that the exported particles shall refer to.
    tilt_hand
        RELION's rlnTomoHand, 1 or -1, where there is no such project.
    """

    formats: Sequence[str] = ("relion", "relion5")
    subtomograms: bool = False
    box_width: float | None = None
    tilt_series_pixel_size: float | None = None
    binned_by: str = "fourier"
    relion_tomograms: str | None = None
    tilt_hand: int = -1


@dataclass(frozen=True)
class Microscope:
    """What RELION asks about the microscope.

    Attributes
    ----------
    voltage
        kV.
    spherical_aberration
        mm.
    amplitude_contrast
        Fraction, 0 to 1.
    """

    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07


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
