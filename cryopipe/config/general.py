"""General options and options of the microscope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class GeneralOptions(Options):
    """General options."""

    tomograms: str = option(
        "config/tomograms.tsv",
        "Path of the tab-separated tomogram table, relative to the directory in which the workflow runs.",
    )
    seed: int = option(
        1, "Seed of all random numbers. The same seed gives the same result.", minimum=0, maximum=2**31 - 1
    )
    curation: str | None = option(
        None,
        "File of your decisions about clusters and particles, saved by the report or by `cryopipe curate`; null: none.",
    )
    device: str = option(
        "auto",
        "Device for computing; auto uses a GPU if one is available.",
        choices=["auto", "cpu", "cuda"],
    )
    memory_gb: float = option(
        4.0,
        "Upper limit of the memory for a job's arrays.",
        unit="gigabyte",
        minimum=0.1,
        maximum=10_000,
    )
    bad_tomograms: str = option(
        "stop",
        "Treatment of a tomogram that fails its check; stop ends its jobs with an error, skip continues with the "
        "other tomograms and picks no particles in it.",
        choices=["stop", "skip"],
    )


@dataclass(frozen=True)
class ImagingOptions(Options):
    """Microscope, and values for blank cells of the tomogram table."""

    SECTION: ClassVar[str] = "imaging"

    tilt_range: Sequence[float] = option(
        (-60.0, 60.0),
        "Lowest and highest tilt of tomograms for which the table has no tilt_min and tilt_max.",
        unit="degree",
        minimum=-90,
        maximum=90,
        length=(2, 2),
        order="strictly ascending",
    )
    contrast: str = option(
        "dark",
        "Particles are darker (raw reconstructions) or brighter than their surroundings, for tomograms for which the "
        "table has no contrast.",
        choices=["dark", "bright"],
    )
    voltage: float = option(
        300.0, "Acceleration voltage; written to RELION's files.", unit="kV", minimum=10, maximum=3000
    )
    spherical_aberration: float = option(
        2.7, "Spherical aberration; written to RELION's files.", unit="mm", minimum=0, maximum=100
    )
    amplitude_contrast: float = option(
        0.07, "Amplitude contrast, a fraction; written to RELION's files.", minimum=0, maximum=1
    )
