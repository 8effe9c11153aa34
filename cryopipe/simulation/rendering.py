"""Rendering of particles at any orientation and sub-voxel position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cryopipe.errors import SimulationError
from cryopipe.simulation.phantoms import Phantom
from cryopipe.volume.fourier import fourier_rescale
from cryopipe.volume.rotate import rotation_matrices, sampling_grid, source_offsets

_AXES = (-3, -2, -1)
_OVERSAMPLING = 2
_BATCH_BYTES = 256e6


class ParticleRenderer:
    """Renderer of rotated and shifted copies of phantoms.

    The densities are stored at half their voxel size and corrected for the attenuation by linear interpolation,
    so that the fast linear interpolation is accurate to a few per cent up to the band limit.

    Parameters
    ----------
    phantoms
        Phantoms, all at one voxel size.
    device
        Device of the rendering.
    """

    def __init__(self, phantoms: Sequence[Phantom], device: torch.device | str = "cpu") -> None:
        if not phantoms:
            raise SimulationError("no species to simulate", remedy="give at least one")
        self.voxel_size = phantoms[0].voxel_size
        for one in phantoms:
            if abs(one.voxel_size - self.voxel_size) > 1e-4 * self.voxel_size:
                raise SimulationError(
                    f"{one.name} has a voxel size of {one.voxel_size:g} angstrom, but {phantoms[0].name} of "
                    f"{self.voxel_size:g} angstrom",
                    remedy="use one voxel size for all species",
                )
        self.device = torch.device(device)
        self.patch_size = max(one.density.shape[0] for one in phantoms)
        """Voxels; edge of a cube that contains each phantom in any orientation."""
        edge = _OVERSAMPLING * self.patch_size
        self._fine = torch.zeros(len(phantoms), edge, edge, edge, device=self.device)
        for index, one in enumerate(phantoms):
            fine = _oversampled(torch.as_tensor(one.density, device=self.device))
            margin = (edge - fine.shape[0]) // 2
            window = slice(margin, margin + fine.shape[0])
            self._fine[index, window, window, window] = fine

    def render(self, labels: Tensor, matrices: Tensor, shifts_voxels: Tensor) -> Tensor:
        """Render particles.

        Parameters
        ----------
        labels
            (n,) index of the phantom.
        matrices
            (n, 3, 3) active rotations of xyz column vectors.
        shifts_voxels
            (n, 3) displacement x, y, z of the centre from voxel patch_size // 2.

        Returns
        -------
        (n, z, y, x) patches of edge `patch_size`.
        """
        labels = labels.to(self.device)
        patches = torch.empty(len(labels), *(self.patch_size,) * 3, device=self.device)
        batch = max(1, int(_BATCH_BYTES / (40 * self.patch_size**3)))
        for label in labels.unique().tolist():
            for part in torch.nonzero(labels == label)[:, 0].split(batch):
                patches[part] = self._render_one(self._fine[label], matrices[part], shifts_voxels[part])
        return patches

    def _render_one(self, fine: Tensor, matrices: Tensor, shifts_voxels: Tensor) -> Tensor:
        size = self.patch_size
        matrices = matrices.to(self.device, torch.float32)
        offsets = source_offsets((size,) * 3, matrices, shifts_voxels)
        grid = sampling_grid(_OVERSAMPLING * offsets + fine.shape[-1] // 2, fine.shape)
        # All copies are stacked along the grid's z axis, so that the density is not duplicated for each.
        grid = grid.reshape(1, -1, size, size, 3)
        return F.grid_sample(fine[None, None], grid, align_corners=True).reshape(-1, size, size, size)


def paste(canvases: Tensor, patches: Tensor, corners: Tensor, owners: Tensor, sources: Tensor) -> None:
    """Add copies of patches to canvases, in place.

    Parameters
    ----------
    canvases
        (n, z, y, x), contiguous.
    patches
        (k, p, p, p).
    corners
        (m, 3) integer voxel z, y, x of each copy's first voxel; copies must lie inside.
    owners
        (m,) canvas of each copy.
    sources
        (m,) patch of each copy.
    """
    edge = patches.shape[-1]
    if canvases.device.type == "cpu":
        # On a CPU, slices are several times faster than one index per voxel.
        places = zip(owners.tolist(), sources.tolist(), corners.tolist(), strict=True)
        for owner, source, (z, y, x) in places:
            canvases[owner, z : z + edge, y : y + edge, x : x + edge] += patches[source]
        return
    _, _, height, width = canvases.shape
    step = torch.arange(edge, device=canvases.device)
    inner = (step[:, None, None] * height + step[None, :, None]) * width + step[None, None, :]
    z, y, x = corners.unbind(dim=1)
    first = ((owners * canvases.shape[1] + z) * height + y) * width + x
    batch = max(1, int(_BATCH_BYTES / (16 * edge**3)))
    for start, source in zip(first.split(batch), sources.split(batch), strict=True):
        index = start[:, None, None, None] + inner
        canvases.view(-1).index_add_(0, index.reshape(-1), patches[source].reshape(-1))


def random_matrices(count: int, generator: torch.Generator) -> Tensor:
    """Return (count, 3, 3) rotation matrices, uniform on SO(3), from normally distributed quaternions."""
    quaternions = torch.randn(count, 4, generator=generator, device=generator.device)
    return rotation_matrices(quaternions)


def _oversampled(density: Tensor) -> Tensor:
    """Return the density at half the voxel size, corrected for the attenuation by linear interpolation."""
    size = _OVERSAMPLING * density.shape[0]
    fine = fourier_rescale(density, 1.0, 1.0 / _OVERSAMPLING, size)
    transform = torch.fft.rfftn(fine)
    for axis in _AXES:
        frequency = torch.fft.fftfreq(size) if axis != -1 else torch.fft.rfftfreq(size)
        gain = torch.sinc(frequency.to(density)).square()
        transform = transform / gain.reshape([-1] + [1] * (-1 - axis))
    return torch.fft.irfftn(transform, s=(size,) * 3)
