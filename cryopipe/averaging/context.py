"""Context of one alignment: box, options and device, and quantities derived from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, shift_grid
from cryopipe.averaging.options import AveragingOptions
from cryopipe.volume.geometry import rotation_grid, symmetry_rotations
from cryopipe.volume.masks import sphere_mask

SHIFT_STEP = 2.0
"""Voxels between the shifts of an exhaustive search."""


@dataclass(frozen=True)
class AlignmentContext:
    """Box, options and device of one alignment, with derived quantities.

    Attributes
    ----------
    box_size
        Voxels along an edge.
    voxel_size
        Angstrom.
    options
        See `AveragingOptions`.
    device
        Device of the computation.
    """

    box_size: int
    voxel_size: float
    options: AveragingOptions
    device: torch.device

    @property
    def extent(self) -> float:
        """Edge of the boxes, angstrom."""
        return self.box_size * self.voxel_size

    @cached_property
    def mask(self) -> Tensor:
        """(z, y, x) soft sphere, 0 to 1."""
        return sphere_mask(self.box_size, self.mask_radius_voxels, self._mask_edge, self.device)

    @property
    def mask_radius_voxels(self) -> float:
        """Radius within which the mask is 1, voxels."""
        diameter = self.options.mask_diameter or 0.8 * self.extent
        return min(diameter / self.voxel_size / 2, self.box_size / 2 - self._mask_edge)

    @property
    def _mask_edge(self) -> float:
        return max(2.0, self.box_size / 10)

    @property
    def max_shift_voxels(self) -> float:
        """Largest shift of a particle from its box's centre, voxels."""
        return self.options.max_shift / self.voxel_size

    @cached_property
    def symmetry(self) -> Tensor:
        """(g, 3, 3) rotations of the point group."""
        return torch.from_numpy(symmetry_rotations(self.options.symmetry).as_matrix()).to(self.mask)

    @property
    def last_shell(self) -> int:
        """Outermost Fourier shell in use."""
        return int(self.extent / max(self.options.finest_resolution, 2 * self.voxel_size))

    @property
    def initial_shells(self) -> int:
        """Outermost Fourier shell of the initial model."""
        return self.shell_of(self.options.initial_resolution)

    def shell_of(self, resolution: float) -> int:
        """Return the shell of a resolution (angstrom), at least 4 and within the data's limit."""
        return min(self.last_shell, max(4, math.ceil(self.extent / resolution)))

    def band(self, shells: int) -> Band:
        """Return the coefficients up to a shell."""
        return Band(self.box_size, shells, self.device)

    def no_prior(self, band: Band) -> Tensor:
        """Return noise-to-signal ratios that leave a map almost unfiltered."""
        return torch.full((band.shells + 1,), 0.01, device=band.device)

    def exhaustive_search(self, angle: float) -> Grid:
        """Return a grid of rotations with a covering radius (degrees), and shifts `SHIFT_STEP` voxels apart."""
        matrices = torch.from_numpy(rotation_grid(angle, self.options.symmetry).as_matrix()).to(self.mask)
        return Grid(matrices, shift_grid(self.max_shift_voxels, SHIFT_STEP, self.device))

    @property
    def free_axes(self) -> Tensor:
        """1 for the axes x, y, z along which the point group does not fix the centre, else 0."""
        group = self.options.symmetry.upper()
        across = 1.0 if group == "C1" else 0.0
        along = 1.0 if group.startswith("C") else 0.0
        return torch.tensor([across, across, along], device=self.mask.device)
