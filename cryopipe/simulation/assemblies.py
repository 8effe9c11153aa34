"""Procedural macromolecules as clouds of beads: globular domains under a point-group symmetry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import SimulationError
from cryopipe.volume.geometry import random_rotations, symmetry_rotations

FloatArray = NDArray[np.float64]

PROTEIN_DENSITY = 0.81
"""Dalton per cubic angstrom of dry protein."""

MASS_RANGE = (100e3, 5e6)
"""Dalton; range of masses of assemblies."""

ARCHITECTURES = ("globular", "barrel", "shell")
CYCLIC = tuple(f"C{n}" for n in range(1, 8))
DIHEDRAL = tuple(f"D{n}" for n in range(2, 8))
CUBIC = ("T", "O")

_TARGET_BEADS = 1200
_ATTEMPTS = 20
_OVERLAP = 0.88
"""Distance of the centres of touching domains over the sum of their radii; below 1, so that interfaces are flat."""


@dataclass(frozen=True)
class AssemblySpec:
    """Specification of an assembly.

    Attributes
    ----------
    architecture
        "globular" (compact or branched), "barrel" (stacked rings with a channel along z) or "shell" (hollow).
    symmetry
        C1 to C7, D2 to D7, T or O; barrels need a cyclic or dihedral group of at least three-fold order.
    mass
        Dalton, 100 kDa to 5 MDa.
    seed
        Seed of the sizes, shapes, positions and densities of the domains.
    name
        Name of the species; by default composed of the values above.
    """

    architecture: str
    symmetry: str
    mass: float
    seed: int
    name: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SimulationError(
                f"unknown architecture {self.architecture!r} of an assembly",
                remedy=f"use {', '.join(ARCHITECTURES)}",
            )
        if self.symmetry not in CYCLIC + DIHEDRAL + CUBIC:
            raise SimulationError(
                f"an assembly cannot have symmetry {self.symmetry!r}", remedy="use C1 to C7, D2 to D7, T or O"
            )
        if not MASS_RANGE[0] <= self.mass <= MASS_RANGE[1]:
            raise SimulationError(
                f"an assembly cannot have a mass of {self.mass / 1e3:g} kDa", remedy="use 100 to 5,000 kDa"
            )
        if self.architecture == "barrel" and (self.symmetry in CUBIC or int(self.symmetry[1:]) < 3):
            raise SimulationError(
                f"a barrel cannot have symmetry {self.symmetry}", remedy="use C3 to C7 or D3 to D7"
            )


@dataclass(frozen=True)
class Assembly:
    """Cloud of beads around its centre of mass.

    Attributes
    ----------
    positions
        (n, 3) angstrom, x, y, z.
    volumes
        (n,) volume of protein represented by each bead, cubic angstrom.
    bead_radius
        Angstrom; standard deviation of a bead's Gaussian density.
    radius
        Angstrom; radius of the bounding sphere around the centre of mass.
    mass
        Dalton.
    symmetry, name
        As in the specification.
    """

    positions: FloatArray
    volumes: FloatArray
    bead_radius: float
    radius: float
    mass: float
    symmetry: str
    name: str


def draw_spec(seed: int) -> AssemblySpec:
    """Return the specification of `phantom_SEED`, with random architecture, symmetry and mass."""
    rng = np.random.default_rng([seed, 1])
    architecture = str(rng.choice(ARCHITECTURES, p=[0.64, 0.18, 0.18]))
    groups = {
        "globular": ("C1",) * 9 + CYCLIC[1:] + DIHEDRAL + CUBIC,
        "barrel": CYCLIC[3:] + DIHEDRAL[2:],
        "shell": (*CUBIC, "O", "D5", "D6", "D7"),
    }
    symmetry = str(rng.choice(groups[architecture]))
    # Barrels and shells of a few small domains would have no cavity.
    low = {"globular": 100e3, "barrel": 250e3, "shell": 350e3}[architecture]
    mass = float(np.exp(rng.uniform(np.log(low), np.log(MASS_RANGE[1]))))
    return AssemblySpec(architecture, symmetry, mass, seed, name=f"phantom_{seed}")


def build_assembly(spec: AssemblySpec) -> Assembly:
    """Place domains under the point group and fill them with beads.

    Domains are touching ellipsoids of 15 to 70 kDa (more in large assemblies), whose densities differ by up to 25 %
    from that of protein. An asymmetric unit of several unequal domains in general positions makes the assembly
    chiral.

    Raises
    ------
    SimulationError
        If the domains cannot be placed without overlap.
    """
    group = symmetry_rotations(spec.symmetry).as_matrix()
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([spec.seed, 2, attempt])
        masses = _domain_masses(spec.mass / len(group), spec.architecture, rng)
        radii = np.cbrt(3 * masses / PROTEIN_DENSITY / (4 * np.pi))
        centres = _place_domains(radii, group, spec.architecture, rng)
        if centres is not None:
            break
    else:
        raise SimulationError(
            f"the domains of {spec} cannot be placed without overlap", remedy="use another seed or symmetry"
        )
    spacing = (max(spec.mass / _TARGET_BEADS, 600.0) / PROTEIN_DENSITY) ** (1 / 3)
    points, volumes = _fill_domains(centres, radii, masses, spacing, rng)
    positions = np.concatenate([points @ element.T for element in group])
    volumes = np.tile(volumes, len(group))
    volumes *= spec.mass / PROTEIN_DENSITY / volumes.sum()
    positions -= np.average(positions, axis=0, weights=volumes)
    radius = float(np.linalg.norm(positions, axis=1).max() + spacing / 2)
    name = spec.name or f"{spec.architecture}_{spec.symmetry}_{spec.mass / 1e3:.0f}kDa_{spec.seed}"
    return Assembly(positions, volumes, 0.5 * spacing, radius, spec.mass, spec.symmetry, name)


def _domain_masses(unit_mass: float, architecture: str, rng: np.random.Generator) -> FloatArray:
    """Divide the mass of the asymmetric unit into unequal domains, largest first."""
    if architecture == "globular":
        count = int(np.clip(round(unit_mass / rng.uniform(20e3, 60e3)), 4, 40))
    else:
        # With more domains a barrel becomes a long tube and a shell has no cavity.
        count = int(rng.integers(1, 4))
    weights = np.sort(rng.lognormal(0.0, 0.45, count))[::-1]
    return unit_mass * weights / weights.sum()


def _place_domains(
    radii: FloatArray, group: FloatArray, architecture: str, rng: np.random.Generator
) -> FloatArray | None:
    """Return centres (n, 3) at which no two domains or copies overlap; None if a domain cannot be placed."""
    first = _first_centre(radii[0], group, architecture, rng)
    if first is None:
        return None
    centres = [first]
    shell_radius = float(np.linalg.norm(centres[0]))
    if architecture == "shell":
        area = len(group) * np.pi * float(np.square(radii).sum())
        shell_radius = max(shell_radius, math.sqrt(area / (4 * np.pi * 0.62)))
        centres[0] = centres[0] * (shell_radius / float(np.linalg.norm(centres[0])))
    loose = rng.uniform(0.0, 1.0)
    for index in range(1, len(radii)):
        place = _next_centre(
            np.array(centres), radii[: index + 1], group, architecture, shell_radius, loose, rng
        )
        if place is None:
            return None
        centres.append(place)
    return np.array(centres)


def _first_centre(
    radius: float, group: FloatArray, architecture: str, rng: np.random.Generator
) -> FloatArray | None:
    """Return the first point along a random direction at which the copies do not overlap.

    Returns None if the direction is too close to a symmetry axis.
    """
    direction = rng.standard_normal(3)
    if architecture == "barrel":
        direction[2] = 0.0
        if len(group) % 2 == 0 and np.isclose(group[:, 2, 2].min(), -1):
            # Above the plane of the two-fold axes, so that the rings are stacked and not interleaved.
            direction = np.append(direction[:2] / np.linalg.norm(direction[:2]), 0.9 * _barrel_slope(group))
    direction /= np.linalg.norm(direction)
    if len(group) == 1:
        return np.zeros(3)
    for distance in np.linspace(0.3, 12.0, 400) * radius:
        copies = group @ (distance * direction)
        nearest = np.linalg.norm(copies[1:] - copies[0], axis=1).min()
        if nearest >= 2 * radius * _OVERLAP:
            return distance * direction
    return None


def _barrel_slope(group: FloatArray) -> float:
    """Return height over radius at which a domain touches its neighbours in both rings of a dihedral barrel."""
    return math.sin(2 * np.pi / len(group))


def _next_centre(
    centres: FloatArray,
    radii: FloatArray,
    group: FloatArray,
    architecture: str,
    shell_radius: float,
    loose: float,
    rng: np.random.Generator,
) -> FloatArray | None:
    """Return the centre of another domain in contact with the others: the best of many random candidates."""
    radius = radii[-1]
    placed = np.concatenate([centres @ element.T for element in group])
    placed_radii = np.tile(radii[:-1], len(group))
    for widening in (1.0, 1.05, 1.15, 1.4, 2.0, 3.0):
        count = 600
        host = rng.integers(len(centres), size=count)
        direction = rng.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        reach = (radii[host] + radius) * (_OVERLAP + 0.02) * widening
        places = centres[host] + direction * reach[:, None]
        if architecture == "shell":
            places *= (shell_radius / np.linalg.norm(places, axis=1))[:, None]
        copies = np.einsum("gij,nj->ngi", group, places)
        gap = np.linalg.norm(places[:, None] - placed, axis=-1) / (placed_radii + radius)
        free = gap.min(axis=1) >= _OVERLAP
        if len(group) > 1:
            own = np.linalg.norm(copies[:, 1:] - copies[:, :1], axis=-1).min(axis=1) / (2 * radius)
            free &= own >= _OVERLAP
        if free.any():
            return places[free][np.argmin(_misfit(places[free], architecture, shell_radius, loose, rng))]
    return None


def _misfit(
    places: FloatArray, architecture: str, shell_radius: float, loose: float, rng: np.random.Generator
) -> FloatArray:
    """Return how far each place deviates from the architecture, relative to the size of the assembly."""
    chance = rng.uniform(0, 1, len(places))
    if architecture == "barrel":
        channel = np.abs(np.hypot(places[:, 0], places[:, 1]) - shell_radius)
        return channel / shell_radius + 0.2 * chance
    distance = np.linalg.norm(places, axis=1)
    return distance / max(float(distance.mean()), 1e-6) + 2.0 * loose * chance


def _fill_domains(
    centres: FloatArray, radii: FloatArray, masses: FloatArray, spacing: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return beads (n, 3) on rotated, jittered lattices within ellipsoids, and the volume of each."""
    points, volumes = [], []
    rotations = random_rotations(len(centres), rng)
    for index, (centre, radius, mass) in enumerate(zip(centres, radii, masses, strict=True)):
        stretch = np.exp(rng.normal(0.0, 0.18, 3))
        stretch /= np.cbrt(stretch.prod())
        steps = np.arange(-math.ceil(1.8 * radius / spacing), math.ceil(1.8 * radius / spacing) + 1)
        lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) * spacing
        lattice = lattice + rng.uniform(-0.5, 0.5, 3) * spacing
        lattice = lattice[(np.square(lattice / (radius * stretch)).sum(axis=1)) <= 1]
        if len(lattice) == 0:
            lattice = np.zeros((1, 3))
        lattice = lattice + rng.normal(0.0, 0.12 * spacing, lattice.shape)
        points.append(centre + rotations[index].apply(lattice))
        density = rng.uniform(0.75, 1.25)
        volumes.append(np.full(len(lattice), mass * density / PROTEIN_DENSITY / len(lattice)))
    return np.concatenate(points), np.concatenate(volumes)
