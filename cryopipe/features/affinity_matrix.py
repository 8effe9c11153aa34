"""Affinity of class maps: their average Fourier shell correlation, the target of affinity-VAE's latent space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.map_fitting import BATCH, COARSE_ANGLE, refine_pose
from cryopipe.files.cluster_averages import average_files, read_map
from cryopipe.simulation.maps import phantom_from_density, read_maps
from cryopipe.simulation.phantoms import Phantom
from cryopipe.volume.fourier import fourier_rescale, low_pass
from cryopipe.volume.fsc import FSC, fourier_shell_correlation, shell_indices, shell_sums
from cryopipe.volume.geometry import rotation_grid
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.rotate import rotate_volumes
from cryopipe.volume.windows import overlap_windows

COARSE_BOX = 16
"""Voxels; box in which maps are aligned: the affinity changes little within a few degrees."""
_EDGE = 2.0
"""Width in voxels of the soft edge of the sphere to which averages are masked."""


def average_fsc(fsc: FSC, resolution: float) -> float:
    """Return the mean of a Fourier shell correlation, each shell weighted by its number of coefficients.

    It is the FSC average of Brown et al., Acta Crystallogr. D 71 (2015) 136-153.

    Parameters
    ----------
    fsc
        The curve of a cube of n voxels.
    resolution
        Angstrom; finer shells are ignored, as is shell 0, the mean of the map.

    Rerotations
    -------
    -1 to 1; 0 if no shell is left.
    """
    count = len(fsc.correlation)
    shells = shell_indices(2 * (count - 1))
    sizes = shell_sums(torch.ones(shells.shape), shells, count).numpy()
    used = (fsc.frequency > 0) & (fsc.frequency <= 1 / resolution + 1e-9)
    total = float(sizes[used].sum())
    return float((sizes[used] * fsc.correlation[used]).sum() / total) if total else 0.0


def affinity_matrix(phantoms: Sequence[Phantom], align: bool = True) -> NDArray[np.float32]:
    """Return the affinity of all pairs of class maps.

    Parameters
    ----------
    phantoms
        The class maps, all of one voxel size, centred in their boxes. Shells finer than the coarser of two maps'
        resolutions are ignored.
    align
        Whether each map is rotated to fit the other of a pair first. Without, the maps must have comparable
        orientations. The best of all orientations is used, so that even unrelated maps of the same shape have an
        affinity above 0.

    Rerotations
    -------
    (k, k), -1 to 1; symmetric, with 1 on the diagonal.
    """
    cubes, voxel_size = common_cubes(phantoms), phantoms[0].voxel_size
    count = len(phantoms)
    affinity = np.eye(count, dtype=np.float32)
    coarse, scale = _coarse(cubes, voxel_size)
    rotations = _best_rotations(coarse) if align else None
    for i in range(count):
        for j in range(i):
            fitted = cubes[j]
            if rotations is not None:
                start = torch.zeros(1, 3)
                rotation, shift, _ = refine_pose(coarse[i], coarse[j], rotations[i, j][None], start, 8.0, 0.5)
                fitted = rotate_volumes(fitted[None], rotation, shift * scale, "cubic")[0]
            resolution = max(phantoms[i].resolution, phantoms[j].resolution)
            fsc = fourier_shell_correlation(cubes[i], fitted, voxel_size)
            affinity[i, j] = affinity[j, i] = average_fsc(fsc, resolution)
    return affinity


def _coarse(cubes: Tensor, voxel_size: float) -> tuple[Tensor, float]:
    """Return the cubes in at most `COARSE_BOX` voxels, and how many voxels one of theirs is."""
    scale = max(1.0, cubes.shape[-1] / COARSE_BOX)
    if scale == 1.0:
        return cubes, scale
    resolution = 2.5 * voxel_size * scale
    limited = [low_pass(cube, resolution, voxel_size) for cube in cubes]
    return torch.stack([fourier_rescale(cube, 1.0, scale, COARSE_BOX) for cube in limited]), scale


def _best_rotations(cubes: Tensor) -> Tensor:
    """Return (k, k, 3, 3) rotations: [i, j] rotates map j to the highest correlation with map i, without a shift.

    The centres of mass coincide, so that shifts are left to the refinement.
    """
    matrices = torch.as_tensor(rotation_grid(COARSE_ANGLE).as_matrix(), dtype=torch.float32)
    targets = cubes.flatten(1)
    found = torch.empty(len(cubes), len(cubes), 3, 3)
    for j, cube in enumerate(cubes):
        parts = [rotate_volumes(cube[None], part).flatten(1) for part in matrices.split(BATCH)]
        scores = torch.cat([part @ targets.T / part.norm(dim=1, keepdim=True) for part in parts])
        found[:, j] = matrices[scores.argmax(dim=0)]
    return found


def common_cubes(phantoms: Sequence[Phantom]) -> Tensor:
    """Return the densities (k, n, n, n) in the box of the largest, centres at voxel n // 2."""
    size = max(phantom.density.shape[0] for phantom in phantoms)
    cubes = torch.zeros(len(phantoms), size, size, size)
    for cube, phantom in zip(cubes, phantoms, strict=True):
        edge = phantom.density.shape[0]
        low = np.full(3, edge // 2 - size // 2)
        source, target = overlap_windows(low, (size,) * 3, (edge,) * 3)
        cube[target] = torch.from_numpy(phantom.density[source])
    return cubes


def class_maps(directory: str | Path, voxel_size: float, resolution: float, radius: float) -> list[Phantom]:
    """Read the maps of a directory as class maps, in the order of their names.

    Parameters
    ----------
    directory
        Of MRC files: the averages of a run (`results/averages`: half-maps are ignored, and noise outside a sphere is
        masked), or any density maps.
    voxel_size, resolution
        Of the class maps, angstrom.
    radius
        Angstrom; averages are masked to a sphere of this radius.

    Raises
    ------
    SimulationError
        If there is no map.
    DataError
        If a map is unusable.
    """
    averages = average_files(directory)
    if not averages:
        return read_maps(directory, voxel_size, resolution)
    found = []
    for path in averages:
        density, spacing = read_map(path)
        inside = min(radius / spacing, density.shape[0] / 2) - 1.5 * _EDGE
        masked = density * sphere_mask(density.shape, max(inside, 1.0), _EDGE).numpy()
        found.append(phantom_from_density(masked, spacing, voxel_size, resolution, path.stem))
    return found
