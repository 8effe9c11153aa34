"""Options of the run as a whole, and of the microscope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class GeneralOptions(Options):
    """Options of the run as a whole."""

    tomograms: str = option(
        "config/tomograms.tsv",
        "The tomogram table, tab-separated; relative to the directory that the workflow runs in.",
    )
    seed: int = option(
        1, "Seed of everything random. The same seed gives the same result.", minimum=0, maximum=2**31 - 1
    )
    device: str = option(
        "auto",
        "Where tensors are computed; auto takes a GPU when there is one.",
        choices=["auto", "cpu", "cuda"],
    )
    memory_gb: float = option(
        4.0,
        "Upper limit for the arrays that a job holds in memory.",
        unit="gigabyte",
        minimum=0.1,
        maximum=10_000,
    )
    bad_tomograms: str = option(
        "stop",
        "What happens to a tomogram that fails its check; stop ends its own jobs with an error, skip goes on with "
        "the others and gives it no particles.",
        choices=["stop", "skip"],
    )


@dataclass(frozen=True)
class ImagingOptions(Options):
    """What the tomogram table does not say for single tomograms, and the microscope."""

    SECTION: ClassVar[str] = "imaging"

    tilt_range: Sequence[float] = option(
        (-60.0, 60.0),
        "Lowest and highest tilt, where the table leaves tilt_min and tilt_max blank.",
        unit="degree",
        minimum=-90,
        maximum=90,
        length=(2, 2),
        order="strictly ascending",
    )
    contrast: str = option(
        "dark",
        "Particles darker (raw reconstructions) or brighter than their surroundings, where the table leaves it blank.",
        choices=["dark", "bright"],
    )
    voltage: float = option(
        300.0, "Acceleration voltage; handed to RELION.", unit="kV", minimum=10, maximum=3000
    )
    spherical_aberration: float = option(
        2.7, "Spherical aberration; handed to RELION.", unit="mm", minimum=0, maximum=100
    )
    amplitude_contrast: float = option(
        0.07, "Amplitude contrast, a fraction; handed to RELION.", minimum=0, maximum=1
    )
