"""Options of simulated tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option
from cryopipe.errors import SimulationError
from cryopipe.simulation.optics import Optics, tilt_angles
from cryopipe.simulation.phantoms import EXAMPLES, check_sampling


@dataclass(frozen=True)
class SimulationOptions(Options):
    """Simulated tomograms of the demo and of `cryopipe simulate`."""

    SECTION: ClassVar[str] = "simulation"

    size: Sequence[int] = option(
        (256, 256, 80),
        "Size of the tomogram along x, y and z.",
        unit="voxel",
        minimum=16,
        maximum=4096,
        length=(3, 3),
    )
    voxel_size: float = option(
        13.33, "Voxel size of the tomogram.", unit="angstrom", minimum=0.1, maximum=1000
    )
    resolution: float = option(
        30.0,
        "Resolution limit of the specimen; at least twice the voxel size.",
        unit="angstrom",
        minimum=0.2,
        maximum=2000,
    )
    species: Sequence[str] = option(
        tuple(EXAMPLES),
        "Species in the tomogram: ribosome_like (chiral), proteasome_like (barrel), ferritin_like (hollow shell), or "
        "phantom_N with any number N, a procedural macromolecule generated from the seed N.",
    )
    maps: str = option(
        "", "Directory of density maps (MRC, any units) used as additional species; blank for none."
    )
    copies: int = option(
        60, "Number of particles of each species in a tomogram.", minimum=0, maximum=1_000_000
    )
    concentration: float = option(
        0.0,
        "Concentration of each species, used instead of copies if above 0.",
        unit="micromole per litre",
        minimum=0,
        maximum=100_000,
    )
    crowding: float = option(
        0.0,
        "Fraction of the volume filled by protein, reached by adding small unknown proteins; about 0.2 in cytoplasm.",
        minimum=0,
        maximum=0.5,
    )
    vesicles: int = option(1, "Number of vesicles.", minimum=0, maximum=10_000)
    sheets: int = option(0, "Number of membranes across the tomogram.", minimum=0, maximum=1000)
    gold: int = option(0, "Number of gold beads of 10 nm.", minimum=0, maximum=100_000)
    empty_fraction: float = option(0.0, "Fraction of the volume without particles.", minimum=0, maximum=0.9)
    tilt_range: Sequence[float] = option(
        (-60.0, 60.0),
        "Lowest and highest tilt angle.",
        unit="degree",
        minimum=-90,
        maximum=90,
        length=(2, 2),
        order="strictly ascending",
    )
    tilt_step: float = option(3.0, "Tilt increment.", unit="degree", minimum=0.1, maximum=60)
    defocus: float = option(
        4.0, "Defocus; underfocus is positive.", unit="micrometre", minimum=-100, maximum=100
    )
    voltage: float = option(300.0, "Acceleration voltage.", unit="kV", minimum=10, maximum=3000)
    spherical_aberration: float = option(2.7, "Spherical aberration.", unit="mm", minimum=0, maximum=100)
    amplitude_contrast: float = option(0.07, "Amplitude contrast, a fraction.", minimum=0, maximum=1)
    snr: float = option(
        0.3,
        "Signal-to-noise ratio: variance of the noise-free reconstruction over the variance of the noise, both inside the "
        "particles' bounding spheres.",
        above=0,
        maximum=1e9,
    )
    structural_noise: float = option(
        0.3,
        "Fraction of the noise variance that is density in the specimen and is imaged with it; the rest is shot noise.",
        minimum=0,
        maximum=1,
    )
    shift_error: float = option(
        0.0,
        "Standard deviation of the shifts of the images along each axis.",
        unit="angstrom",
        minimum=0,
        maximum=10_000,
    )
    angle_error: float = option(
        0.0,
        "Standard deviation of the true tilt angles from the nominal ones.",
        unit="degree",
        minimum=0,
        maximum=30,
    )
    contrast: str = option(
        "dark",
        "Contrast of the particles: dark, as in raw reconstructions, or bright.",
        choices=["dark", "bright"],
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sampling(self.voxel_size, self.resolution)
        tilt_angles((self.tilt_range[0], self.tilt_range[-1]), self.tilt_step)
        Optics(self.voltage, self.spherical_aberration, self.amplitude_contrast, self.defocus)
        if not self.species and not self.maps:
            raise SimulationError(
                "no species to simulate", remedy="list species in `species`, or set a directory in `maps`"
            )

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        return int(self.size[2]), int(self.size[1]), int(self.size[0])

    @property
    def optics(self) -> Optics:
        """Parameters of the microscope."""
        return Optics(self.voltage, self.spherical_aberration, self.amplitude_contrast, self.defocus)
