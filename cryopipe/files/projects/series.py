"""Properties of tilt series and their tomograms, as the projects of other programs state them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryopipe.errors import CryopipeError
from cryopipe.files.metadata import read_tilt_range

ALIGNED = (".xml", ".aln", ".tlt", ".star")
"""Suffixes of the files that contain the alignment of a tilt series, not only its tilts."""


@dataclass(frozen=True)
class Series:
    """One tilt series of a project; what the project does not state is None.

    Attributes
    ----------
    name
        The program's own name.
    volume
        The tomogram.
    even, odd
        The tomograms from the even and the odd frames.
    voxel_size
        Of the tomogram as the project states it, angstrom.
    tilt_series_pixel_size
        Angstrom.
    unbinned_size
        x, y, z in pixels of the tilt series.
    tilt_range
        Lowest and highest tilt, degrees.
    tilt_axis
        See `cryopipe.tomograms.Tomogram`.
    tilt_series
        File with the geometry of the tilt series.
    voltage, spherical_aberration, amplitude_contrast
        Kilovolt, millimetre, fraction.
    dose, defocus
        Electrons per square angstrom of the whole tilt series; mean defocus, micrometre.
    sources
        Files from which the properties are, by the names of these attributes.
    left_out
        The other volumes of the tilt series, with the reason.
    remarks
        Messages for the user.
    """

    name: str
    volume: Path | None = None
    even: Path | None = None
    odd: Path | None = None
    voxel_size: float | None = None
    tilt_series_pixel_size: float | None = None
    unbinned_size: tuple[int, int, int] | None = None
    tilt_range: tuple[float, float] | None = None
    tilt_axis: str = "y"
    tilt_series: Path | None = None
    voltage: float | None = None
    spherical_aberration: float | None = None
    amplitude_contrast: float | None = None
    dose: float | None = None
    defocus: float | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def known(self, source: Path, **values: Any) -> Series:
        """Return the series with the values that are not None, read from the file `source`."""
        stated = {name: value for name, value in values.items() if value is not None}
        return replace(self, sources={**self.sources, **dict.fromkeys(stated, source)}, **stated)

    def with_tilts(self, path: Path) -> Series:
        """Return the series with the tilt range of a file; a message says so if it cannot be read."""
        aligned = path if path.suffix.lower() in ALIGNED else None
        try:
            return self.known(path, tilt_range=read_tilt_range(path), tilt_series=aligned)
        except CryopipeError as error:
            return self.remarked(f"tilt range left blank: {error}")

    def remarked(self, *remarks: str) -> Series:
        """Return the series with more messages for the user."""
        return replace(self, remarks=(*self.remarks, *remarks))


@dataclass(frozen=True)
class Project:
    """The tilt series of a project.

    Attributes
    ----------
    program
        Name of the program, for messages.
    source
        The file or folder that was read.
    series
        The tilt series.
    contrast
        "dark" or "bright": that of the program's tomograms by default; None if unknown.
    export
        Values of the section `export` of the configuration that suit the project.
    assumed
        What the project does not state and is therefore assumed.
    """

    program: str
    source: Path
    series: tuple[Series, ...]
    contrast: str | None = None
    export: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
