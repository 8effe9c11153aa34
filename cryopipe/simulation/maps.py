"""Species from density maps of any size, units and voxel size."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from cryopipe.errors import DataError, SimulationError
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.simulation.assemblies import PROTEIN_DENSITY
from cryopipe.simulation.phantoms import Phantom, band_limit, box_size_for, check_sampling
from cryopipe.volume.fourier import fourier_rescale, frequency_grid
from cryopipe.volume.statistics import LARGEST, is_grey_value, single_precision
from cryopipe.volume.windows import overlap_windows

SUFFIXES = (".mrc", ".map")
_SURFACE = 0.15
"""The bounding sphere contains all voxels above this fraction of the density of protein."""


def read_maps(directory: str | Path, voxel_size: float, resolution: float) -> list[Phantom]:
    """Read every MRC map of a directory as a species named after its file.

    Parameters
    ----------
    directory
        Directory of .mrc or .map files, read in the order of their names.
    voxel_size, resolution
        Voxel size and resolution of the phantoms, angstrom.

    Raises
    ------
    SimulationError
        If the directory contains no map.
    """
    folder = Path(directory)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SimulationError(
            "contains no .mrc or .map file", file=folder, remedy="give a directory of density maps"
        )
    return [read_map(path, voxel_size, resolution) for path in files]


def read_named_maps(
    directory: str | os.PathLike[str], names: Sequence[str], voxel_size: float, resolution: float
) -> list[Phantom]:
    """Read the maps NAME.mrc of a directory in the order of `names`; see `read_maps`.

    Raises
    ------
    SimulationError
        If maps are missing.
    """
    paths = [Path(directory) / f"{name}.mrc" for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise SimulationError(
            f"lacks {', '.join(missing)}",
            file=directory,
            remedy="add these maps, or leave `templates` blank to use procedural phantoms",
        )
    return [read_map(path, voxel_size, resolution) for path in paths]


def read_map(path: str | Path, voxel_size: float, resolution: float) -> Phantom:
    """Read one density map as a species.

    The units of the map are unknown, so it is scaled to the density of protein: the background, the mode of the
    values, becomes 0; Otsu's threshold separates body and background; the sum of the density becomes the volume of
    the body, and the mass is that volume times 0.81 Da per cubic angstrom. The centre of mass is moved to the middle.

    Raises
    ------
    DataError
        If the header has no voxel size, or the map is constant or not finite.
    """
    header = read_header(path)
    if header.voxel_size is None:
        raise DataError(
            "has no voxel size in its header",
            file=path,
            remedy="set the voxel size in the header, in angstrom",
        )
    source = single_precision(open_volume(path))
    return phantom_from_density(source, header.voxel_size, voxel_size, resolution, Path(path).stem)


def phantom_from_density(
    density: NDArray[np.float32], density_voxel_size: float, voxel_size: float, resolution: float, name: str
) -> Phantom:
    """Centre, scale, resample and band-limit a density (z, y, x) in any units; see `read_map`."""
    check_sampling(voxel_size, resolution)
    if not is_grey_value(density).all() or float(np.ptp(density)) == 0:
        raise DataError(
            f"map {name} is constant or contains NaN, infinite values or values above {LARGEST:g}",
            remedy="replace or remove the map",
        )
    body, volume = _scaled_to_protein(density, density_voxel_size)
    grid = np.argwhere(body > 0)
    weight = body[body > 0]
    centre = np.average(grid, axis=0, weights=weight)
    reach = np.linalg.norm(grid[weight > _SURFACE] - centre, axis=1).max() * density_voxel_size
    radius = float(reach) + density_voxel_size / 2
    size = box_size_for(radius, voxel_size, resolution)
    # Wider than the result, because resampling fills voxels beyond the source with the mean of the source.
    centred = _centred(body, centre, 2 * math.ceil(size * voxel_size / density_voxel_size / 2) + 4)
    volume_fine = torch.as_tensor(centred, dtype=torch.float32)
    resampled = fourier_rescale(
        _limited(volume_fine, density_voxel_size, resolution), density_voxel_size, voxel_size, size
    )
    limited = _limited(resampled, voxel_size, resolution)
    limited = limited * (volume / voxel_size**3 / float(limited.sum()))
    return Phantom(limited.numpy(), voxel_size, resolution, radius, "C1", volume * PROTEIN_DENSITY, name)


def _scaled_to_protein(density: NDArray[np.float32], voxel_size: float) -> tuple[NDArray[np.float64], float]:
    """Return the density, 0 outside and about 1 inside the body, and the volume of the body, cubic angstrom."""
    counts, edges = np.histogram(density, bins=256)
    # Most voxels of a map are solvent or, after masking, have a single value.
    mode = float(edges[counts.argmax()] + edges[counts.argmax() + 1]) / 2
    contrast = density.astype(np.float64) - mode
    threshold = float(threshold_otsu(contrast))
    inside = contrast > threshold
    body = np.where(contrast > 0.25 * threshold, contrast, 0.0)
    volume = float(np.count_nonzero(inside)) * voxel_size**3
    return body * (np.count_nonzero(inside) / body.sum()), volume


def _centred(body: NDArray[np.float64], centre: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return a cube of edge `size` with the centre of mass, (z, y, x) voxels, at voxel size // 2."""
    whole = np.round(centre).astype(int)
    cube = np.zeros((size,) * 3)
    low = whole - size // 2
    source, target = overlap_windows(low, cube.shape, body.shape)
    cube[target] = body[source]
    k = [np.fft.fftfreq(size)[:, None, None], np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)]
    phase = sum(frequency * offset for frequency, offset in zip(k, centre - whole, strict=True))
    return np.asarray(np.fft.ifftn(np.fft.fftn(cube) * np.exp(2j * np.pi * phase)).real)


def _limited(volume: torch.Tensor, voxel_size: float, resolution: float) -> torch.Tensor:
    gain = band_limit(frequency_grid(volume.shape, voxel_size) * resolution)
    return torch.fft.ifftn(torch.fft.fftn(volume) * gain).real
