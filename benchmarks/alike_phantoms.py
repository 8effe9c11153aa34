"""Phantoms that resemble one another: species with a common core, and states of one machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.simulation.assemblies import Assembly, AssemblySpec, build_assembly
from cryopipe.simulation.phantoms import Phantom, bead_density, box_size_for

MASS = 2.5e6
"""Dalton; the mass of a ribosome."""
DIFFERENT_FRACTION = 0.2
"""Fraction of the mass in which species or states differ."""
STATE_ANGLE = 35.0
"""Degrees; rotation of the mobile part between two states."""


def alike_phantoms(
    sort: str, count: int, voxel_size: float, resolution: float, first_seed: int
) -> list[Phantom]:
    """Return asymmetric phantoms that differ in a fifth of their mass.

    Parameters
    ----------
    sort
        "species": every one has other domains at one side of a common core. "states": the part at one side is rotated
        about a hinge, by `STATE_ANGLE` more in every phantom.
    count
        Number of phantoms.
    voxel_size, resolution
        Angstrom.
    first_seed
        Seed of the common structure; the domains of species k are those of seed first_seed + k.
    """
    core = build_assembly(AssemblySpec("globular", "C1", MASS, first_seed))
    found = []
    for number in range(count):
        if sort == "states":
            made = _state(core, STATE_ANGLE * number)
        elif number:
            donor = build_assembly(AssemblySpec("globular", "C1", MASS, first_seed + number))
            made = _species(core, donor)
        else:
            made = core
        found.append(_phantom(replace(made, name=f"{sort}_{number + 1}"), voxel_size, resolution))
    return found


def _species(core: Assembly, donor: Assembly) -> Assembly:
    """Return the core with one side of the donor in place of its own."""
    own, other = _outside(core), _outside(donor)
    return _centred(
        core,
        np.concatenate([core.positions[~own], donor.positions[other]]),
        np.concatenate([core.volumes[~own], donor.volumes[other]]),
    )


def _state(core: Assembly, angle: float) -> Assembly:
    """Return the assembly with its mobile part rotated by an angle, in degrees, about an axis through the hinge."""
    mobile = _outside(core)
    border = core.positions[mobile, 0].min()
    near = mobile & (core.positions[:, 0] < border + 2 * core.bead_radius)
    hinge = core.positions[near].mean(axis=0)
    positions = core.positions.copy()
    rotation = Rotation.from_euler("y", angle, degrees=True)
    positions[mobile] = rotation.apply(positions[mobile] - hinge) + hinge
    return _centred(core, positions, core.volumes)


def _outside(assembly: Assembly) -> NDArray[np.bool_]:
    """Return which beads are in the fraction `DIFFERENT_FRACTION` of the volume with the largest x."""
    order = np.argsort(-assembly.positions[:, 0])
    cumulative = np.cumsum(assembly.volumes[order])
    chosen = np.zeros(len(order), bool)
    chosen[order[cumulative <= DIFFERENT_FRACTION * cumulative[-1]]] = True
    return chosen


def _centred(model: Assembly, positions: NDArray[np.float64], volumes: NDArray[np.float64]) -> Assembly:
    """Return an assembly of these beads around their centre of mass."""
    positions = positions - np.average(positions, axis=0, weights=volumes)
    radius = float(np.linalg.norm(positions, axis=1).max()) + model.bead_radius
    mass = model.mass * float(volumes.sum() / model.volumes.sum())
    return replace(model, positions=positions, volumes=volumes, radius=radius, mass=mass)


def _phantom(made: Assembly, voxel_size: float, resolution: float) -> Phantom:
    density = bead_density(made, voxel_size, resolution, box_size_for(made.radius, voxel_size, resolution))
    return Phantom(density, voxel_size, resolution, made.radius, made.symmetry, made.mass, made.name)
