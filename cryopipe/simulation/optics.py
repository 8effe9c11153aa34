"""Tilt angles, electron wavelength and contrast transfer function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.errors import SimulationError


@dataclass(frozen=True)
class Optics:
    """Parameters of the contrast transfer function.

    Attributes
    ----------
    voltage
        Kilovolt.
    spherical_aberration
        Millimetre.
    amplitude_contrast
        Fraction, 0 to 1.
    defocus
        Micrometre; positive is underfocus.
    """

    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07
    defocus: float = 5.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.voltage) and self.voltage > 0):
            raise SimulationError(
                f"voltage of {self.voltage:g} kV is not a positive number", remedy="set for example 300"
            )
        if not 0 <= self.amplitude_contrast <= 1:
            raise SimulationError(
                f"amplitude contrast of {self.amplitude_contrast:g} is not between 0 and 1",
                remedy="set a fraction, for example 0.07",
            )
        if not (math.isfinite(self.defocus) and math.isfinite(self.spherical_aberration)):
            raise SimulationError(
                f"defocus of {self.defocus:g} micrometre or spherical aberration of {self.spherical_aberration:g} mm "
                "is not finite",
                remedy="set for example 5 and 2.7",
            )


def electron_wavelength(voltage: float) -> float:
    """Return the relativistic de Broglie wavelength in angstrom at `voltage` kilovolt."""
    volts = 1e3 * voltage
    return 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))


def contrast_transfer(frequency: Tensor, optics: Optics) -> Tensor:
    """Return the contrast transfer function with RELION's sign: positive near the origin at underfocus.

    Parameters
    ----------
    frequency
        1/angstrom, any shape.
    optics
        Parameters of the microscope.

    Notes
    -----
    CTF(k) = sin(pi w dz k^2 - pi/2 Cs w^3 k^4 + asin(Q)) with the wavelength w, defocus dz, spherical
    aberration Cs and amplitude contrast Q. Protein is bright with this sign; raw images have the opposite sign.
    """
    wavelength = electron_wavelength(optics.voltage)
    defocus, aberration = 1e4 * optics.defocus, 1e7 * optics.spherical_aberration
    square = frequency.square()
    phase = math.pi * wavelength * defocus * square
    phase = phase - 0.5 * math.pi * aberration * wavelength**3 * square.square()
    return torch.sin(phase + math.asin(optics.amplitude_contrast))


def tilt_angles(tilt_range: tuple[float, float], tilt_step: float) -> NDArray[np.float64]:
    """Return the tilts of a series in degrees, lowest first, both ends included.

    Raises
    ------
    SimulationError
        If the range is empty or exceeds -90 to 90 degrees, or the step is not above 0 and at most the range.
    """
    low, high = tilt_range
    if not -90 <= low < high <= 90:
        raise SimulationError(
            f"tilt range {low:g} to {high:g} degrees is empty or exceeds -90 to 90 degrees",
            remedy="set two angles with -90 <= lowest < highest <= 90",
        )
    if not 0 < tilt_step <= high - low:
        raise SimulationError(
            f"tilt step of {tilt_step:g} degrees does not fit a tilt range of {high - low:g} degrees",
            remedy="set a step above 0 and at most the range",
        )
    steps = round((high - low) / tilt_step)
    return np.linspace(low, high, steps + 1)
