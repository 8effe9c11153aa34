"""The options of a simulated tomogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryopipe.errors import SimulationError
from cryopipe.simulation.optics import Optics, tilt_angles
from cryopipe.simulation.phantoms import EXAMPLES, check_sampling


@dataclass(frozen=True)
class SimulationOptions:
    """What is simulated; the fields are the section `simulation` of config.yaml, described in its schema.

    Lengths are in angstrom, angles in degrees, defocus in micrometre, voltage in kilovolt, aberration in
    millimetre, concentration in micromole per litre; `size` counts voxels along x, y, z.
    """

    size: Sequence[int] = (256, 256, 80)
    voxel_size: float = 13.33
    resolution: float = 30.0
    species: Sequence[str] = tuple(EXAMPLES)
    maps: str = ""
    copies: int = 60
    concentration: float = 0.0
    crowding: float = 0.0
    vesicles: int = 1
    sheets: int = 0
    gold: int = 0
    empty_fraction: float = 0.0
    tilt_range: Sequence[float] = (-60.0, 60.0)
    tilt_step: float = 3.0
    defocus: float = 4.0
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07
    snr: float = 0.3
    structural_noise: float = 0.3
    shift_error: float = 0.0
    angle_error: float = 0.0
    contrast: str = "dark"

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 16:
            raise SimulationError(
                f"size of {' x '.join(map(str, self.size))} voxels", remedy="give x, y and z, 16 or more each"
            )
        check_sampling(self.voxel_size, self.resolution)
        tilt_angles((self.tilt_range[0], self.tilt_range[-1]), self.tilt_step)
        Optics(self.voltage, self.spherical_aberration, self.amplitude_contrast, self.defocus)
        if not 0 < self.snr < float("inf"):
            raise SimulationError(f"SNR of {self.snr:g}", remedy="give a number above 0, e.g. 0.1")
        for name, high in (("structural_noise", 1.0), ("empty_fraction", 0.9), ("crowding", 0.5)):
            if not 0 <= getattr(self, name) <= high:
                raise SimulationError(
                    f"{name} of {getattr(self, name):g}", remedy=f"give a fraction from 0 to {high:g}"
                )
        for name in ("copies", "concentration", "vesicles", "sheets", "gold", "shift_error", "angle_error"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SimulationError(f"{name} of {getattr(self, name):g}", remedy="give 0 or more")
        if self.contrast not in ("dark", "bright"):
            raise SimulationError(f"contrast {self.contrast!r}", remedy="give dark or bright")
        if not self.species and not self.maps:
            raise SimulationError(
                "no species to simulate", remedy="name some in `species` or a directory in `maps`"
            )

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return int(self.size[2]), int(self.size[1]), int(self.size[0])

    @property
    def optics(self) -> Optics:
        """The microscope."""
        return Optics(self.voltage, self.spherical_aberration, self.amplitude_contrast, self.defocus)
