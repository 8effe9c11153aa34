"""Averages prepared for the search of a tomogram: band, mask, voxel size and rotations."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe.averaging.particle_shape import particle_shape
from cryopipe.files.cluster_averages import SYMMETRY, ClusterAverage
from cryopipe.volume.fourier import fourier_rescale
from cryopipe.volume.geometry import rotation_grid
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.rotate import sampling_grid, source_offsets

logger = logging.getLogger(__name__)

SHELLS = 3.5
"""The band of the search ends at this fraction of the diameter, or at the average's resolution if that is coarser: the cost
grows as the sixth power of the resolution, and this tells most particles apart."""
SAMPLING = 2.2
"""Search voxels are at most the resolution of the search divided by this."""
COARSER = 1.2
"""A resolution that is not asked for is made coarser by up to this factor if larger search voxels then suffice."""
EDGE = 1.5
"""Width of the soft edge of the mask, search voxels."""
MARGIN = 3
"""Voxels between the mask and the border of a template."""
FINER = 2
"""Templates are interpolated linearly from voxels that are this many times smaller."""


@dataclass(frozen=True)
class SearchTemplate:
    """An average prepared for the search.

    Attributes
    ----------
    number
        Of the class.
    fine
        (z, y, x) map with particles bright, 0 outside the mask, at voxels `FINER` times smaller than the search's.
    box_size
        Edge of a rotated template in search voxels, even.
    binning
        Voxels of the tomogram along the edge of a search voxel.
    radius
        Of the mask, angstrom.
    voxel_size
        Of the search, angstrom.
    resolution
        Limit of the compared band, angstrom.
    symmetry
        Point group of the average.
    """

    number: int
    fine: Tensor
    box_size: int
    binning: int
    radius: float
    voxel_size: float
    resolution: float
    symmetry: str

    @property
    def angle(self) -> float:
        """Degrees within which a rotation of the search comes to every orientation.

        A point on the surface then moves by half the resolution at most.
        """
        return math.degrees(self.resolution / (2 * self.radius))

    def rotations(self) -> Rotation:
        """Return the rotations of the search; of equivalent ones under the symmetry only one."""
        return rotation_grid(min(self.angle, 60.0), self.symmetry)

    def mask(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the (z, y, x) soft mask at the search's voxel size."""
        return sphere_mask(self.box_size, self.radius / self.voxel_size, EDGE, device)

    def rotated(self, matrices: Tensor) -> Tensor:
        """Return the (n, z, y, x) map in n rotations, matrices (n, 3, 3) active on xyz, at the search's voxel size."""
        shape = (self.box_size,) * 3
        points = source_offsets(shape, matrices) * FINER + self.fine.shape[-1] // 2
        grid = sampling_grid(points, self.fine.shape)
        source = self.fine.to(matrices).expand(len(matrices), 1, *self.fine.shape)
        return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[:, 0]


def make_search_template(
    number: int, average: ClusterAverage, voxel_size: float, resolution: float | None = None
) -> SearchTemplate | None:
    """Prepare an average for the search of a tomogram.

    Parameters
    ----------
    number
        Of the class.
    average
        The average, with its resolution and point group.
    voxel_size
        Of the tomogram, angstrom.
    resolution
        Finest resolution to compare, angstrom; None for the diameter divided by `SHELLS`. The average's own resolution
        and the voxel size limit it.

    Returns
    -------
    The template; None, with a warning, if the average has no resolution or no structure at its centre.
    """
    diameter = particle_shape(average.volume, average.voxel_size).diameter
    if not (math.isfinite(diameter) and math.isfinite(average.resolution)):
        why = "no resolution" if math.isfinite(diameter) else "no structure at its centre"
        logger.warning("class %d is not searched for: its average has %s", number, why)
        return None
    finest = SAMPLING * max(voxel_size, average.voxel_size)
    band = max(average.resolution, resolution or diameter / SHELLS, finest)
    binning = max(1, int((1.0 if resolution else COARSER) * band / SAMPLING / voxel_size + 1e-6))
    band = max(band, SAMPLING * binning * voxel_size)
    search = binning * voxel_size
    radius = diameter / 2
    size = 2 * math.ceil(radius / search + EDGE + MARGIN)
    volume = torch.from_numpy(average.volume).float()
    fine = fourier_rescale(volume, average.voxel_size, search / FINER, FINER * size)
    inside = sphere_mask(FINER * size, FINER * radius / search, FINER * EDGE)
    # the level around the particle becomes 0, so that the mask adds no edge
    rim = (inside > 0) & (inside < 1)
    fine = (fine - fine[rim].mean()) * inside
    symmetry = str(average.figures.get(SYMMETRY, "C1"))
    return SearchTemplate(number, fine, size, binning, radius, search, band, symmetry)
