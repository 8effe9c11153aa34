"""Neighbouring particles around the particle in the middle of a box."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.errors import SimulationError
from cryopipe.simulation.assemblies import PROTEIN_DENSITY
from cryopipe.simulation.packing import Packer, body_of
from cryopipe.simulation.phantoms import Phantom
from cryopipe.simulation.rendering import ParticleRenderer
from cryopipe.volume.geometry import random_rotations
from cryopipe.volume.windows import overlap_windows

_OUTLINE = 0.3
"""A neighbour is removed if a voxel has a particle density above this and a neighbour density above `_TRACE`."""
_TRACE = 0.05
_BATCH = 128
_BULK = 0.6
"""Fraction of the protein drawn uniformly from all species; the smallest species fill the gaps."""


class Crowd:
    """Densely packed volume from which the neighbours of particles are cut.

    Particles are packed once, by their shapes. The neighbours in a box are a random window in one of the 24
    orientations of a cube, without the particles that touch the central one. This is much faster than packing
    every box, and as dense as a scene.

    Parameters
    ----------
    species
        Species of the neighbours.
    context_size
        Edge of the windows, voxels.
    crowding
        Volume fraction of protein.
    generator
        Random generator; its device is used.

    Raises
    ------
    SimulationError
        If the fraction cannot be reached with these species.
    """

    def __init__(
        self, species: Sequence[Phantom], context_size: int, crowding: float, generator: torch.Generator
    ) -> None:
        self._context_size = context_size
        self._generator = generator
        self._renderer = ParticleRenderer(species, generator.device)
        self._species = list(species)
        # Particles are entirely inside the volume, so its margin is less dense and is removed at the end.
        self._margin = self._renderer.patch_size // 4
        edge = context_size + min(context_size, 64) + 2 * self._margin
        seed = int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
        self._rng = np.random.default_rng(seed)
        self._packer = Packer(np.zeros((edge,) * 3, dtype=bool), self._rng)
        self._density = np.zeros((edge,) * 3, dtype=np.float32)
        self._owner = np.zeros((edge,) * 3, dtype=np.int32)
        self._strongest = np.full((edge,) * 3, _TRACE, dtype=np.float32)
        self._count = 0
        self._pack(crowding)
        inside = (slice(self._margin, edge - self._margin),) * 3
        self._crowd = torch.as_tensor(self._density[inside].copy(), device=generator.device)
        self._owners = torch.as_tensor(self._owner[inside].astype(np.int64), device=generator.device)
        self.protein_fraction = float(self._crowd.mean())

    def add_neighbours(self, scenes: Tensor) -> None:
        """Add neighbours, in place, to scenes (n, z, y, x) that contain the central particle or nothing."""
        positions = self._crowd.shape[0] - self._context_size + 1
        draws = torch.randint(
            positions, (len(scenes), 3), generator=self._generator, device=self._generator.device
        )
        orientations = torch.randint(
            len(_CUBE_ROTATIONS), (len(scenes),), generator=self._generator, device=self._generator.device
        )
        for scene, corner, orientation in zip(scenes, draws.tolist(), orientations.tolist(), strict=True):
            window = tuple(slice(start, start + self._context_size) for start in corner)
            order, flips = _CUBE_ROTATIONS[orientation]
            owners = self._owners[window].permute(order).flip(flips)
            removed = torch.zeros(self._count + 1, dtype=torch.bool, device=scene.device)
            removed[owners[scene > _OUTLINE]] = True
            removed[0] = False
            scene += self._crowd[window].permute(order).flip(flips) * ~removed[owners]

    def _pack(self, crowding: float) -> None:
        """Place particles drawn uniformly from the species, largest first, then the smallest species."""
        volumes = (
            np.array([one.mass / PROTEIN_DENSITY for one in self._species]) / self._renderer.voxel_size**3
        )
        inner = (self._density.shape[0] - 2 * self._margin) ** 3
        wanted = crowding * inner
        drawn = self._rng.integers(
            len(volumes), size=max(8, int(2 * crowding * self._density.size / volumes.mean()))
        )
        drawn = drawn[: np.searchsorted(np.cumsum(volumes[drawn]), _BULK * crowding * self._density.size) + 1]
        filled = self._place(drawn[np.argsort(-volumes[drawn], kind="stable")], volumes, wanted)
        small = np.argsort(volumes)[: max(1, len(volumes) // 3)]
        while filled < wanted:
            more = self._place(self._rng.choice(small, _BATCH), volumes, wanted - filled)
            if more == 0:
                raise SimulationError(
                    f"crowding of {crowding:g} cannot be reached: these species fill at most {filled / inner:.3f}",
                    remedy="lower `crowding` or add smaller neighbours",
                )
            filled += more

    def _place(self, species: NDArray[np.int64], volumes: NDArray[np.float64], wanted: float) -> float:
        """Place particles of the species until `wanted` voxels inside the margin are filled; return the number filled."""
        filled = 0.0
        device = self._generator.device
        for start in range(0, len(species), _BATCH):
            batch = species[start : start + _BATCH]
            matrices = torch.as_tensor(
                random_rotations(len(batch), self._rng).as_matrix(), dtype=torch.float32
            )
            shifts = torch.as_tensor(self._rng.uniform(-0.5, 0.5, (len(batch), 3)), dtype=torch.float32)
            patches = self._renderer.render(torch.as_tensor(batch), matrices.to(device), shifts.to(device))
            for index, patch in zip(batch, patches.cpu().numpy(), strict=True):
                centre = self._packer.place(body_of(patch))
                if centre is not None and filled < wanted:
                    self._draw(patch, centre)
                    within = (
                        (centre >= self._margin) & (centre < self._density.shape[0] - self._margin)
                    ).all()
                    filled += float(volumes[index]) * bool(within)
        return filled

    def _draw(self, patch: NDArray[np.float32], centre: NDArray[np.int64]) -> None:
        self._count += 1
        low = centre - patch.shape[0] // 2
        target, source = overlap_windows(low, patch.shape, self._density.shape)
        part = patch[source]
        self._density[target] += part
        stronger = part > self._strongest[target]
        self._strongest[target][stronger] = part[stronger]
        self._owner[target][stronger] = self._count


def _cube_rotations() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the 24 rotations of a cube as permutations of axes and axes to flip; mirror images are excluded."""
    found = []
    for order in itertools.permutations(range(3)):
        parity = round(float(np.linalg.det(np.eye(3)[list(order)])))
        for signs in itertools.product((1, -1), repeat=3):
            if parity * signs[0] * signs[1] * signs[2] == 1:
                found.append((order, tuple(axis for axis in range(3) if signs[axis] < 0)))
    return found


_CUBE_ROTATIONS = _cube_rotations()
