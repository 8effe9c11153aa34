"""Options of simulated boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cryopipe.errors import SimulationError


@dataclass(frozen=True)
class BoxOptions:
    """Options of simulated boxes.

    Attributes
    ----------
    box_size
        Voxels, even. The voxel size is that of the phantoms.
    snr
        (lowest, highest), drawn per box, uniform on a logarithmic scale: variance of the noise-free
        reconstructed box over variance of the noise, both inside the particle's bounding sphere.
        Infinity gives boxes without noise.
    tilt_range, tilt_step
        Degrees.
    defocus
        (lowest, highest) micrometre, underfocus positive.
    voltage, spherical_aberration, amplitude_contrast
        Kilovolt, millimetre, fraction.
    displacement
        Angstrom; centres are displaced uniformly within a ball of this radius.
    crowding
        Volume fraction of protein around the particle; 0 for an isolated particle.
    structural_noise
        Fraction of the noise variance that is density in the specimen (ice, small molecules) and is imaged with it.
    thickness
        Angstrom; thickness of the specimen, whose whole depth contributes structural noise.
    transfers
        Number of defocus values sampled from a range of defocus.
    """

    box_size: int = 32
    snr: tuple[float, float] = (0.1, 0.1)
    tilt_range: tuple[float, float] = (-60.0, 60.0)
    tilt_step: float = 3.0
    defocus: tuple[float, float] = (5.0, 5.0)
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07
    displacement: float = 0.0
    crowding: float = 0.0
    structural_noise: float = 0.3
    thickness: float = 1000.0
    transfers: int = 6

    def __post_init__(self) -> None:
        if self.box_size < 8 or self.box_size % 2:
            raise SimulationError(
                f"box size of {self.box_size} voxels is odd or too small",
                remedy="use an even number, at least 8",
            )
        if not 0 < self.snr[0] <= self.snr[1]:
            raise SimulationError(
                f"SNR range {self.snr[0]:g} to {self.snr[1]:g} is not positive and ascending",
                remedy="set the lowest and the highest SNR, above 0; inf for no noise",
            )
        if not 0 <= self.crowding <= 0.35:
            raise SimulationError(
                f"crowding of {self.crowding:g} is out of range",
                remedy="set a volume fraction from 0 to 0.35",
            )
        if not 0 <= self.structural_noise <= 1:
            raise SimulationError(
                f"structural noise of {self.structural_noise:g} is out of range",
                remedy="set a fraction of the variance, 0 to 1",
            )
        if not 0 < self.thickness < math.inf:
            raise SimulationError(
                f"thickness of {self.thickness:g} angstrom is out of range",
                remedy="set a thickness above 0, for example 1000",
            )
        if not 0 <= self.displacement < math.inf:
            raise SimulationError(
                f"displacement of {self.displacement:g} angstrom is out of range", remedy="set 0 or more"
            )
        if not self.defocus[0] <= self.defocus[1]:
            raise SimulationError(
                f"defocus range {self.defocus[0]:g} to {self.defocus[1]:g} is descending",
                remedy="set the lowest value first",
            )
