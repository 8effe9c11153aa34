"""Crowding: other particles around the one in a box's middle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryopipe.simulation.assemblies import PROTEIN_DENSITY
from cryopipe.simulation.phantoms import Phantom
from cryopipe.simulation.rendering import ParticleRenderer, paste, random_matrices

_TOUCHING = 0.8
"""Bodies are not spheres: neighbours come as near as this fraction of the sum of their bounding radii."""
_DRAWN_PER_BOX = 3


class Neighbourhood:
    """Fill the surroundings of particles with other particles.

    For each batch some orientations of the species are drawn anew, a few per box, and shared among the
    batch's boxes at random places: drawing every neighbour afresh would cost ten times the rest.

    Parameters
    ----------
    species
        What the neighbours are.
    context_size
        Voxels; edge of the cube that is crowded.
    crowding
        Volume fraction of protein to reach.
    generator
        Source of randomness; its device is where to compute.
    """

    def __init__(
        self, species: Sequence[Phantom], context_size: int, crowding: float, generator: torch.Generator
    ) -> None:
        self._renderer = ParticleRenderer(species, generator.device)
        self._generator = generator
        voxel_size = self._renderer.voxel_size
        self._radii = torch.tensor([one.radius / voxel_size for one in species], device=generator.device)
        self._volumes = torch.tensor(
            [one.mass / PROTEIN_DENSITY / voxel_size**3 for one in species], device=generator.device
        )
        # Neighbours whose centre lies a little outside still reach in.
        self._reach = int(self._radii.median())
        self.margin = self._reach + self._renderer.patch_size // 2 + 1
        self._wanted = crowding * (context_size + 2 * self._reach) ** 3
        self._context_size = context_size
        typical = self._wanted / float(self._volumes.median())
        self._candidates = int(min(400, max(24, 6 * typical)))

    def fill(self, canvas: Tensor, radii_voxels: Tensor, shifts_voxels: Tensor) -> None:
        """Add neighbours in place.

        Parameters
        ----------
        canvas
            (n, z, y, x) cubes, the context with at least `margin` voxels on each side.
        radii_voxels
            (n,) radius of the particle in the middle; 0 where there is none.
        shifts_voxels
            (n, 3) its displacement x, y, z from the canvas' centre.
        """
        count, edge = len(canvas), canvas.shape[-1]
        device, generator = canvas.device, self._generator
        species = torch.randint(
            len(self._radii), (count * _DRAWN_PER_BOX,), generator=generator, device=device
        )
        turns = random_matrices(len(species), generator)
        patches = self._renderer.render(species, turns, torch.zeros(len(species), 3, device=device))
        choice = torch.randint(len(species), (count, self._candidates), generator=generator, device=device)
        span = self._context_size + 2 * self._reach
        places = torch.rand(count, self._candidates, 3, generator=generator, device=device) * span - span / 2
        kept = self._accept(
            places, self._radii[species[choice]], self._volumes[species[choice]], radii_voxels, shifts_voxels
        )
        owners, which = torch.nonzero(kept, as_tuple=True)
        corners = places[owners, which].flip(1).round().long() + edge // 2 - self._renderer.patch_size // 2
        paste(canvas, patches, corners, owners, choice[owners, which])

    def _accept(
        self, places: Tensor, radii: Tensor, volumes: Tensor, central_radii: Tensor, central_places: Tensor
    ) -> Tensor:
        """Return (n, candidates) which fit: one after the other, until the volume is reached."""
        kept = torch.zeros(places.shape[:2], dtype=torch.bool, device=places.device)
        clear = (places - central_places[:, None]).norm(dim=2) >= _TOUCHING * (radii + central_radii[:, None])
        clear |= central_radii[:, None] == 0
        clear_of_each_other = _TOUCHING * (radii[:, :, None] + radii[:, None])
        near = torch.cdist(places, places) < clear_of_each_other
        filled = torch.zeros(len(places), device=places.device)
        for index in range(places.shape[1]):
            fits = clear[:, index] & (filled < self._wanted) & ~(near[:, index] & kept).any(dim=1)
            kept[:, index] = fits
            filled = filled + fits * volumes[:, index]
        return kept
