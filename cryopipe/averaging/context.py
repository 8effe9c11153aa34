"""What follows from the options for one set of boxes: mask, bands, searches and first maps."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.averaging.fourier_band import Band
from cryopipe.averaging.halfset import HalfSet
from cryopipe.averaging.initial_model import StartData, best_start
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.search import Grid, shift_grid
from cryopipe.averaging.spectra import Spectra
from cryopipe.averaging.superposition import centre_of_density
from cryopipe.volume.fourier import shift_volumes
from cryopipe.volume.geometry import rotation_grid, symmetry_rotations
from cryopipe.volume.masks import sphere_mask


class Setting:
    """What all steps of one alignment share.

    Parameters
    ----------
    spectra
        The boxes.
    voxel_size
        Angstrom.
    options
        See `AveragingOptions`.
    """

    def __init__(self, spectra: Spectra, voxel_size: float, options: AveragingOptions) -> None:
        self.spectra, self.voxel_size, self.options = spectra, voxel_size, options
        n = spectra.box_size
        self.extent = n * voxel_size
        diameter = options.mask_diameter or 0.8 * self.extent
        edge = max(2.0, n / 10)
        self.mask = sphere_mask(n, min(diameter / voxel_size / 2, n / 2 - edge), edge, spectra.device)
        self.max_shift_voxels = options.max_shift / voxel_size
        self.symmetry = torch.from_numpy(symmetry_rotations(options.symmetry).as_matrix()).to(self.mask)
        self.last_shell = int(self.extent / max(options.finest_resolution, 2 * voxel_size))
        self.start_shells = self.shell_of(options.start_resolution)

    def shell_of(self, resolution: float) -> int:
        """Return the shell of a resolution, at least 4 and within the data's limit."""
        return min(self.last_shell, max(4, math.ceil(self.extent / resolution)))

    def band(self, shells: int) -> Band:
        """Return the coefficients up to a shell."""
        return Band(self.spectra.box_size, shells, self.spectra.device)

    def no_prior(self, band: Band) -> Tensor:
        """Return the noise-to-signal ratios that leave a map as it is."""
        return torch.full((band.shells + 1,), 0.01, device=band.device)

    def exhaustive_search(self, angle: float) -> Grid:
        """Return all rotations at a covering radius, with all shifts two voxels apart."""
        grid = rotation_grid(angle, self.options.symmetry)
        shifts = shift_grid(self.max_shift_voxels, 2.0, self.spectra.device)
        return Grid(torch.from_numpy(grid.as_matrix()).to(self.mask), shifts)

    def half(self, indices: NDArray[np.intp], volume: Tensor, number: int) -> HalfSet:
        """Return one half-set with its first map."""
        # A little beyond the allowed shift, so that the edge of the search does not attract.
        return HalfSet(
            self.spectra, indices, volume, self.symmetry, 1.2 * self.max_shift_voxels + 0.5, f"half {number}"
        )

    def start_half(self, indices: NDArray[np.intp], number: int, rng: np.random.Generator) -> HalfSet:
        """Return a half-set with the first map that its own boxes give."""
        options = self.options
        subset = np.sort(rng.permutation(indices)[: options.start_boxes])
        data = StartData(
            self.spectra, subset, self.band(self.start_shells), self.mask, self.voxel_size, options
        )
        volume = best_start(data, options, rng, f"half {number}").volume
        centre = centre_of_density(volume * self.mask) * self.free_axes()
        volume = shift_volumes(volume[None], -centre[None])[0] * self.mask
        return self.half(indices, volume, number)

    def free_axes(self) -> Tensor:
        """Return 1 for the axes x, y, z along which the point group leaves the centre free, else 0."""
        group = self.options.symmetry.upper()
        across = 1.0 if group == "C1" else 0.0
        along = 1.0 if group.startswith("C") else 0.0
        return torch.tensor([across, across, along], device=self.mask.device)
