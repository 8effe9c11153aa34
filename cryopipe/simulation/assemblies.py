"""Made-up macromolecules as clouds of beads: globular domains joined under a point group."""

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
"""Dalton; the smallest and largest assembly that is made."""

KINDS = ("globular", "barrel", "shell")
CYCLIC = tuple(f"C{n}" for n in range(1, 8))
DIHEDRAL = tuple(f"D{n}" for n in range(2, 8))
CUBIC = ("T", "O")

_TARGET_BEADS = 1200
_ATTEMPTS = 20
_OVERLAP = 0.88
"""Centres of touching domains are this fraction of the sum of their radii apart: interfaces are flat."""


@dataclass(frozen=True)
class AssemblySpec:
    """What to build.

    Attributes
    ----------
    kind
        "globular" (compact or branched), "barrel" (stacked rings with a channel along z) or "shell" (hollow).
    symmetry
        C1 to C7, D2 to D7, T or O; barrels take cyclic and dihedral groups from three-fold on, shells any.
    mass
        Dalton, 100 kDa to 5 MDa.
    seed
        Everything else: sizes, shapes, places and densities of the domains.
    name
        Name of the species; by default made of the above.
    """

    kind: str
    symmetry: str
    mass: float
    seed: int
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SimulationError(f"kind of assembly {self.kind!r}", remedy=f"use one of {', '.join(KINDS)}")
        if self.symmetry not in CYCLIC + DIHEDRAL + CUBIC:
            raise SimulationError(f"symmetry {self.symmetry!r}", remedy="use C1 to C7, D2 to D7, T or O")
        if not MASS_RANGE[0] <= self.mass <= MASS_RANGE[1]:
            raise SimulationError(
                f"mass of {self.mass / 1e3:g} kDa", remedy="give 100 kDa to 5,000 kDa for an assembly"
            )
        if self.kind == "barrel" and (self.symmetry in CUBIC or int(self.symmetry[1:]) < 3):
            raise SimulationError(f"barrel of symmetry {self.symmetry}", remedy="use C3 to C7 or D3 to D7")


@dataclass(frozen=True)
class Assembly:
    """A cloud of beads about its centre of mass.

    Attributes
    ----------
    positions
        (n, 3) angstrom, x, y, z.
    volumes
        (n,) cubic angstrom of protein that each bead stands for.
    bead_radius
        Angstrom; standard deviation of a bead's Gaussian density.
    radius
        Angstrom; of the sphere about the centre of mass that bounds the assembly.
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
    """Return the specification of the endless series' member `seed`: kind, symmetry and mass vary."""
    rng = np.random.default_rng([seed, 1])
    kind = str(rng.choice(KINDS, p=[0.64, 0.18, 0.18]))
    groups = {
        "globular": ("C1",) * 9 + CYCLIC[1:] + DIHEDRAL + CUBIC,
        "barrel": CYCLIC[3:] + DIHEDRAL[2:],
        "shell": (*CUBIC, "O", "D5", "D6", "D7"),
    }
    symmetry = str(rng.choice(groups[kind]))
    # Hollow bodies of few small domains would have no hollow.
    low = {"globular": 100e3, "barrel": 250e3, "shell": 350e3}[kind]
    mass = float(np.exp(rng.uniform(np.log(low), np.log(MASS_RANGE[1]))))
    return AssemblySpec(kind, symmetry, mass, seed, name=f"phantom_{seed}")


def build_assembly(spec: AssemblySpec) -> Assembly:
    """Place domains under the point group and fill them with beads.

    Domains are ellipsoids of 15 to 70 kDa (more in large assemblies) that touch, each with its own
    density within 25 % of protein's. An asymmetric unit of several unequal domains in general positions
    makes the body chiral.
    """
    group = symmetry_rotations(spec.symmetry).as_matrix()
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([spec.seed, 2, attempt])
        masses = _domain_masses(spec.mass / len(group), spec.kind, rng)
        radii = np.cbrt(3 * masses / PROTEIN_DENSITY / (4 * np.pi))
        centres = _place_domains(radii, group, spec.kind, rng)
        if centres is not None:
            break
    else:
        raise SimulationError(f"domains of {spec} find no room", remedy="use another seed or symmetry")
    spacing = (max(spec.mass / _TARGET_BEADS, 600.0) / PROTEIN_DENSITY) ** (1 / 3)
    points, volumes = _fill_domains(centres, radii, masses, spacing, rng)
    positions = np.concatenate([points @ element.T for element in group])
    volumes = np.tile(volumes, len(group))
    volumes *= spec.mass / PROTEIN_DENSITY / volumes.sum()
    positions -= np.average(positions, axis=0, weights=volumes)
    radius = float(np.linalg.norm(positions, axis=1).max() + spacing / 2)
    name = spec.name or f"{spec.kind}_{spec.symmetry}_{spec.mass / 1e3:.0f}kDa_{spec.seed}"
    return Assembly(positions, volumes, 0.5 * spacing, radius, spec.mass, spec.symmetry, name)


def _domain_masses(unit_mass: float, kind: str, rng: np.random.Generator) -> FloatArray:
    """Split the asymmetric unit's mass into unequal domains, largest first."""
    if kind == "globular":
        count = int(np.clip(round(unit_mass / rng.uniform(20e3, 60e3)), 4, 40))
    else:
        # More domains would stretch a barrel into a tube and leave a shell without a hollow.
        count = int(rng.integers(1, 4))
    shares = np.sort(rng.lognormal(0.0, 0.45, count))[::-1]
    return unit_mass * shares / shares.sum()


def _place_domains(
    radii: FloatArray, group: FloatArray, kind: str, rng: np.random.Generator
) -> FloatArray | None:
    """Return centres (n, 3) where no two domains or copies interpenetrate; None where one finds no room."""
    first = _first_centre(radii[0], group, kind, rng)
    if first is None:
        return None
    centres = [first]
    shell_radius = float(np.linalg.norm(centres[0]))
    if kind == "shell":
        area = len(group) * np.pi * float(np.square(radii).sum())
        shell_radius = max(shell_radius, math.sqrt(area / (4 * np.pi * 0.62)))
        centres[0] = centres[0] * (shell_radius / float(np.linalg.norm(centres[0])))
    loose = rng.uniform(0.0, 1.0)
    for index in range(1, len(radii)):
        place = _next_centre(np.array(centres), radii[: index + 1], group, kind, shell_radius, loose, rng)
        if place is None:
            return None
        centres.append(place)
    return np.array(centres)


def _first_centre(radius: float, group: FloatArray, kind: str, rng: np.random.Generator) -> FloatArray | None:
    """Go outwards along a random direction until the copies no longer interpenetrate.

    Returns None for a direction too close to a symmetry axis.
    """
    direction = rng.standard_normal(3)
    if kind == "barrel":
        direction[2] = 0.0
        if len(group) % 2 == 0 and np.isclose(group[:, 2, 2].min(), -1):
            # Above the two-fold axes' plane, so that the rings stack instead of interleave.
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
    """Return height over radius at which domains of a dihedral barrel touch their ring's and the other ring's."""
    return math.sin(2 * np.pi / len(group))


def _next_centre(
    centres: FloatArray,
    radii: FloatArray,
    group: FloatArray,
    kind: str,
    shell_radius: float,
    loose: float,
    rng: np.random.Generator,
) -> FloatArray | None:
    """Return the place of one more domain that touches the others; the most fitting of many random ones."""
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
        if kind == "shell":
            places *= (shell_radius / np.linalg.norm(places, axis=1))[:, None]
        copies = np.einsum("gij,nj->ngi", group, places)
        gap = np.linalg.norm(places[:, None] - placed, axis=-1) / (placed_radii + radius)
        free = gap.min(axis=1) >= _OVERLAP
        if len(group) > 1:
            own = np.linalg.norm(copies[:, 1:] - copies[:, :1], axis=-1).min(axis=1) / (2 * radius)
            free &= own >= _OVERLAP
        if free.any():
            return places[free][np.argmin(_misfit(places[free], kind, shell_radius, loose, rng))]
    return None


def _misfit(
    places: FloatArray, kind: str, shell_radius: float, loose: float, rng: np.random.Generator
) -> FloatArray:
    """Return how badly each place suits the kind of body, in units of its own size."""
    chance = rng.uniform(0, 1, len(places))
    if kind == "barrel":
        channel = np.abs(np.hypot(places[:, 0], places[:, 1]) - shell_radius)
        return channel / shell_radius + 0.2 * chance
    distance = np.linalg.norm(places, axis=1)
    return distance / max(float(distance.mean()), 1e-6) + 2.0 * loose * chance


def _fill_domains(
    centres: FloatArray, radii: FloatArray, masses: FloatArray, spacing: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return beads (n, 3) on turned, jittered lattices within ellipsoids, and the volume of each."""
    points, volumes = [], []
    turns = random_rotations(len(centres), rng)
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
        points.append(centre + turns[index].apply(lattice))
        density = rng.uniform(0.75, 1.25)
        volumes.append(np.full(len(lattice), mass * density / PROTEIN_DENSITY / len(lattice)))
    return np.concatenate(points), np.concatenate(volumes)
