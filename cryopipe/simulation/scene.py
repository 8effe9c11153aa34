"""Simulated specimens: particles, filler proteins, membranes, gold beads and empty regions without overlap."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.errors import SimulationError, size_text
from cryopipe.simulation.assemblies import PROTEIN_DENSITY
from cryopipe.simulation.membranes import add_membranes, gold_bead
from cryopipe.simulation.options import SimulationOptions
from cryopipe.simulation.packing import Packer, body_of
from cryopipe.simulation.phantoms import Phantom, filler_phantoms
from cryopipe.simulation.rendering import ParticleRenderer
from cryopipe.volume.geometry import random_rotations
from cryopipe.volume.windows import overlap_windows

logger = logging.getLogger(__name__)

_FILLER_BATCH = 256
_AVOGADRO_PER_MICROMOLE_LITRE = 6.02214076e-10
"""Molecules per cubic angstrom at 1 micromole per litre."""


@dataclass(frozen=True)
class Scene:
    """Specimen and its contents.

    Attributes
    ----------
    density
        (z, y, x) float32; solid protein is 1, ice 0.
    labels
        (z, y, x) int16: 0 for ice, 1 to n for the species, n + 1 for filler, n + 2 for membranes, n + 3 for gold.
    positions
        (m, 3) centres of the particles in voxels, x, y, z.
    rotations
        (m,) active rotations, reference to particle.
    species
        (m,) index into `phantoms`.
    phantoms
        The species.
    protein_fraction
        Fraction of the slab's volume filled by protein, filler included.
    """

    density: NDArray[np.float32]
    labels: NDArray[np.int16]
    positions: NDArray[np.float64]
    rotations: Rotation
    species: NDArray[np.int64]
    phantoms: list[Phantom]
    protein_fraction: float


def build_scene(
    phantoms: Sequence[Phantom], options: SimulationOptions, seed: int, device: torch.device | str = "cpu"
) -> Scene:
    """Fill a slab with membranes, then gold, particles in descending order of mass, and filler.

    Raises
    ------
    SimulationError
        If the contents do not fit.
    """
    return _SceneBuilder(list(phantoms), options, seed, torch.device(device)).build()


def copies_of(options: SimulationOptions) -> int:
    """Return the number of copies of each species, from the count or the concentration."""
    if options.concentration == 0:
        return options.copies
    volume = float(np.prod(options.shape_zyx)) * options.voxel_size**3
    return round(options.concentration * _AVOGADRO_PER_MICROMOLE_LITRE * volume)


class _SceneBuilder:
    def __init__(
        self, phantoms: list[Phantom], options: SimulationOptions, seed: int, device: torch.device
    ) -> None:
        self.phantoms, self.options, self.seed, self.device = phantoms, options, seed, device
        self.rng = np.random.default_rng([seed, 11])
        self.density = np.zeros(options.shape_zyx, dtype=np.float32)
        self.labels = np.zeros(options.shape_zyx, dtype=np.int16)
        self.packer = Packer(np.zeros(options.shape_zyx, dtype=bool), self.rng)
        self.positions: list[NDArray[np.float64]] = []
        self.rotations: list[Rotation] = []
        self.species: list[int] = []
        self.protein_volume = 0.0

    def build(self) -> Scene:
        self._add_membranes()
        self._add_gold()
        self._close_empty_regions()
        copies = copies_of(self.options)
        for index in sorted(range(len(self.phantoms)), key=lambda i: -self.phantoms[i].mass):
            self._add_species(index, copies)
        if self.options.crowding > 0:
            self._add_filler()
        order = np.argsort(np.array(self.species, dtype=np.int64), kind="stable")
        rotations = Rotation.concatenate(self.rotations) if self.rotations else Rotation.identity(0)
        return Scene(
            density=self.density,
            labels=self.labels,
            positions=np.array(self.positions, dtype=np.float64).reshape(-1, 3)[order],
            rotations=rotations[order] if len(order) else rotations,
            species=np.array(self.species, dtype=np.int64)[order],
            phantoms=self.phantoms,
            protein_fraction=self._protein_fraction(),
        )

    def _add_membranes(self) -> None:
        options = self.options
        surface = add_membranes(
            self.density, options.vesicles, options.sheets, options.voxel_size, options.resolution, self.rng
        )
        self.packer.taken[surface] = True
        self.labels[surface] = len(self.phantoms) + 2

    def _add_gold(self) -> None:
        bead = gold_bead(self.options.voxel_size, self.options.resolution)
        body = np.argwhere(bead > 1) - bead.shape[0] // 2
        for _ in range(self.options.gold):
            centre = self.packer.place(body)
            if centre is None:
                raise SimulationError(
                    f"{self.options.gold} gold beads do not fit into the tomogram",
                    remedy="lower `gold`, or raise `size`",
                )
            self._draw(bead, centre, body, len(self.phantoms) + 3)

    def _close_empty_regions(self) -> None:
        """Reserve random balls until the requested fraction of the slab is empty."""
        shape = np.array(self.density.shape)
        closed = np.zeros_like(self.packer.taken)
        z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
        while np.count_nonzero(closed) < self.options.empty_fraction * closed.size:
            centre = self.rng.uniform(0, 1, 3) * shape
            radius = self.rng.uniform(0.08, 0.2) * shape[1:].mean()
            closed |= (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2
        self.packer.taken[closed] = True

    def _add_species(self, index: int, copies: int) -> None:
        one = self.phantoms[index]
        rotations = random_rotations(copies, self.rng)
        shifts = self.rng.uniform(-0.5, 0.5, (copies, 3))
        renderer = ParticleRenderer([one], self.device)
        for number in range(copies):
            patch = self._render(renderer, 0, rotations[number], shifts[number])
            body = body_of(patch)
            centre = self.packer.place(body)
            if centre is None:
                raise SimulationError(
                    f"{one.name}, of radius {one.radius:.0f} angstrom: only {number} of {copies} copies fit into "
                    f"{size_text(self.options.size)} voxels",
                    remedy="lower `copies` or `concentration`, or raise `size`",
                )
            self._draw(patch, centre, body, index + 1)
            self.positions.append(centre[::-1] + shifts[number])
            self.species.append(index)
        if copies:
            self.rotations.append(rotations)
        self.protein_volume += copies * one.mass / PROTEIN_DENSITY

    def _add_filler(self) -> None:
        """Add small unknown proteins until protein fills the requested fraction of the slab."""
        fillers = filler_phantoms(self.options.voxel_size, self.options.resolution)
        renderer = ParticleRenderer(fillers, self.device)
        while self._protein_fraction() < self.options.crowding:
            species = torch.as_tensor(self.rng.integers(len(fillers), size=_FILLER_BATCH))
            rotations = torch.as_tensor(
                random_rotations(_FILLER_BATCH, self.rng).as_matrix(), dtype=torch.float32
            )
            shifts = torch.as_tensor(self.rng.uniform(-0.5, 0.5, (_FILLER_BATCH, 3)), dtype=torch.float32)
            patches = (
                renderer.render(species, rotations.to(self.device), shifts.to(self.device)).cpu().numpy()
            )
            for index, patch in zip(species.tolist(), patches, strict=True):
                body = body_of(patch)
                centre = self.packer.place(body)
                if centre is None:
                    raise SimulationError(
                        f"crowding of {self.options.crowding:g} cannot be reached: the tomogram is full at "
                        f"{self._protein_fraction():.3f}",
                        remedy="lower `crowding`, `vesicles`, `sheets` or `empty_fraction`",
                    )
                self._draw(patch, centre, body, len(self.phantoms) + 1)
                self.protein_volume += fillers[index].mass / PROTEIN_DENSITY
                if self._protein_fraction() >= self.options.crowding:
                    break

    def _protein_fraction(self) -> float:
        return self.protein_volume / (self.density.size * self.options.voxel_size**3)

    def _render(
        self, renderer: ParticleRenderer, index: int, rotation: Rotation, shift: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        matrix = torch.as_tensor(rotation.as_matrix(), dtype=torch.float32, device=self.device)
        offset = torch.as_tensor(shift, dtype=torch.float32, device=self.device)
        patch = renderer.render(torch.tensor([index]), matrix[None], offset[None])[0]
        return np.asarray(patch.cpu().numpy())

    def _draw(
        self, patch: NDArray[np.float32], centre: NDArray[np.int64], body: NDArray[np.int64], label: int
    ) -> None:
        """Add a patch with its middle at `centre`, cropped at the faces of the slab, and label its body."""
        low = centre - patch.shape[0] // 2
        target, source = overlap_windows(low, patch.shape, self.density.shape)
        self.density[target] += patch[source]
        z, y, x = (centre + body).T
        self.labels[z, y, x] = label
