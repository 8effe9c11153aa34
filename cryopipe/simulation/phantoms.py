"""Band-limited densities of procedural macromolecules, generated from seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.errors import SimulationError
from cryopipe.simulation.assemblies import Assembly, AssemblySpec, build_assembly, draw_spec

EXAMPLES = {
    "ribosome_like": AssemblySpec("globular", "C1", 2.5e6, 2, "ribosome_like"),
    "proteasome_like": AssemblySpec("barrel", "D7", 0.9e6, 6, "proteasome_like"),
    "ferritin_like": AssemblySpec("shell", "O", 1.0e6, 8, "ferritin_like"),
}
"""Three easily distinguished species for the demo: compact and chiral, barrel, hollow shell."""

_FILLERS = 8
_FILLER_SEED = 1_000_000
_BAND_EDGE = 0.85
"""Fraction of the band limit from which amplitudes fall along a cosine to 0 at the limit."""


@dataclass(frozen=True)
class Phantom:
    """Density of one species.

    Attributes
    ----------
    density
        (z, y, x) float32, a cube of even edge n with the centre of mass at voxel n // 2. Solid protein is 1, ice is
        0; the sum times the volume of a voxel is the mass divided by 0.81 Da per cubic angstrom.
    voxel_size
        Angstrom.
    resolution
        Angstrom; band limit of the density.
    radius
        Angstrom; radius of the bounding sphere around the centre.
    symmetry
        Point group in RELION's orientation.
    mass
        Dalton.
    name
        Name of the species, valid as a file name.
    """

    density: NDArray[np.float32]
    voxel_size: float
    resolution: float
    radius: float
    symmetry: str
    mass: float
    name: str


def phantom(spec: int | AssemblySpec, voxel_size: float, resolution: float) -> Phantom:
    """Generate a procedural macromolecule.

    Parameters
    ----------
    spec
        The seed N of `phantom_N`, or a specification.
    voxel_size
        Angstrom.
    resolution
        Angstrom; the density's Fourier transform is 0 beyond 1 / resolution.

    Raises
    ------
    SimulationError
        If the voxels are too large for the resolution.
    """
    check_sampling(voxel_size, resolution)
    assembly = build_assembly(draw_spec(spec) if isinstance(spec, int) else spec)
    size = box_size_for(assembly.radius, voxel_size, resolution)
    return Phantom(
        density=bead_density(assembly, voxel_size, resolution, size),
        voxel_size=voxel_size,
        resolution=resolution,
        radius=assembly.radius,
        symmetry=assembly.symmetry,
        mass=assembly.mass,
        name=assembly.name,
    )


def check_sampling(voxel_size: float, resolution: float) -> None:
    """Raise `SimulationError` unless `resolution` is at least twice `voxel_size`, both in angstrom."""
    for what, value in (("voxel size", voxel_size), ("resolution", resolution)):
        if not (math.isfinite(value) and value > 0):
            raise SimulationError(
                f"{what} of {value:g} angstrom is not a positive number", remedy="set a positive length"
            )
    if resolution < 2 * voxel_size:
        raise SimulationError(
            f"a voxel size of {voxel_size:g} angstrom is too large for a resolution of {resolution:g} angstrom",
            remedy=f"use a voxel size of at most {resolution / 2:g} angstrom, or a resolution of at least "
            f"{2 * voxel_size:g} angstrom",
        )


def box_size_for(radius: float, voxel_size: float, resolution: float) -> int:
    """Return the even edge, in voxels, of a cube for a particle and the ripple of its band limit."""
    return 2 * math.ceil((radius + resolution) / voxel_size) + 2


def bead_density(
    assembly: Assembly, voxel_size: float, resolution: float, box_size: int
) -> NDArray[np.float32]:
    """Return the density of a cloud of beads, computed in Fourier space and exact at any position.

    Parameters
    ----------
    assembly
        Beads; the origin is placed at voxel box_size // 2.
    voxel_size, resolution
        Angstrom.
    box_size
        Voxels, even.

    Returns
    -------
    (z, y, x) float32.
    """
    positions = torch.as_tensor(assembly.positions, dtype=torch.float64) / voxel_size + box_size // 2
    weights = torch.as_tensor(assembly.volumes, dtype=torch.float64) / voxel_size**3
    full, half = torch.fft.fftfreq(box_size).double(), torch.fft.rfftfreq(box_size).double()
    phases = [
        torch.exp(-2j * torch.pi * positions[:, axis] * frequency[:, None]).to(torch.complex64)
        for axis, frequency in ((0, half), (1, full), (2, full))
    ]
    planes = (phases[2][:, None] * phases[1][None]).reshape(box_size**2, -1)
    transform = (planes @ (phases[0] * weights).to(torch.complex64).T).reshape(box_size, box_size, -1)
    frequency = torch.sqrt(
        full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    ).float()
    envelope = torch.exp(-2 * (torch.pi * frequency * assembly.bead_radius / voxel_size) ** 2)
    transform *= envelope * band_limit(frequency * resolution / voxel_size)
    return torch.fft.irfftn(transform, s=(box_size,) * 3).numpy()


def band_limit(fraction: torch.Tensor) -> torch.Tensor:
    """Return the gain at frequencies given as fractions of the band limit: 1, then a cosine edge, then 0."""
    edge = ((fraction - _BAND_EDGE) / (1 - _BAND_EDGE)).clamp(0, 1)
    return torch.cos(torch.pi / 2 * edge) ** 2


def stock_phantoms(
    count: int, voxel_size: float, resolution: float, first_seed: int = 0, largest_radius: float | None = None
) -> list[Phantom]:
    """Return the first `count` phantoms with seeds from `first_seed` on.

    Parameters
    ----------
    count
        Number of phantoms.
    voxel_size, resolution
        Angstrom.
    first_seed
        First seed.
    largest_radius
        Angstrom; larger phantoms are skipped, so that all fit into a box.

    Raises
    ------
    SimulationError
        If too few phantoms are small enough.
    """
    found: list[Phantom] = []
    seed = first_seed
    while len(found) < count:
        candidate = phantom(seed, voxel_size, resolution)
        if largest_radius is None or candidate.radius <= largest_radius:
            found.append(candidate)
        seed += 1
        if seed - first_seed > 50 * count + 50:
            raise SimulationError(
                f"fewer than {count} phantoms have a radius of at most {largest_radius:g} angstrom",
                remedy="allow a larger radius, or request fewer phantoms",
            )
    return found


def filler_phantoms(voxel_size: float, resolution: float) -> list[Phantom]:
    """Return small globular proteins of 100 to 240 kDa, the unknown proteins of a crowded scene."""
    return [
        phantom(AssemblySpec("globular", "C1", float(mass), _FILLER_SEED + number), voxel_size, resolution)
        for number, mass in enumerate(np.linspace(100e3, 240e3, _FILLERS))
    ]
