"""Size and shape of the structure at the centre of an average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SMOOTHING = 1.0
"""Standard deviation of the Gaussian filter, voxels."""
LEVEL = 0.35
"""Of the densest voxels near the centre, above the background: voxels above it belong to the structure."""
CENTRE = 0.3
"""Radius of the central region as a fraction of the box."""
RIM = 0.45
"""Radius of the sphere that the box measures completely, as a fraction of the box."""
NECK = 0.4
"""Where the structure is thinner than this fraction of its thickest part, what is beyond is a neighbour or a remnant."""
EXTENT = 98.0
"""Percentile of the voxels' distances from their centre that counts as the radius."""


@dataclass(frozen=True)
class ParticleShape:
    """Size and shape of the structure at the centre of a map.

    Attributes
    ----------
    diameter
        Of the smallest centred sphere with nearly all voxels of the structure, angstrom; NaN if there is none.
    elongation
        Longest axis of the ellipsoid of inertia divided by its middle axis.
    flatness
        Its middle axis divided by its shortest.
    at_rim
        Fraction of the sphere of radius `RIM` that lies in the structure: above 0 it continues beyond the box.
    mask
        (z, y, x) the voxels of the structure, holes filled.
    """

    diameter: float
    elongation: float
    flatness: float
    at_rim: float
    mask: NDArray[np.bool_]


def particle_shape(volume: NDArray[np.float32], voxel_size: float) -> ParticleShape:
    """Measure the connected structure at the centre of a map; neighbours that do not touch it are not counted.

    Parameters
    ----------
    volume
        (z, y, x), particles bright.
    voxel_size
        Angstrom.
    """
    n = volume.shape[0]
    smooth = ndimage.gaussian_filter(
        volume.astype(np.float64), SMOOTHING, mode="constant", cval=float(volume.mean())
    )
    grid = np.indices(volume.shape) - n // 2
    radius = np.sqrt((grid**2).sum(axis=0))
    background = np.median(smooth[radius >= RIM * n])
    densest = np.percentile(smooth[radius <= CENTRE * n], 99)
    none = ParticleShape(float("nan"), 1.0, 1.0, 0.0, np.zeros(volume.shape, bool))
    if not densest > background:
        return none
    above = (smooth > background + LEVEL * (densest - background)) & (radius <= RIM * n)
    labels, count = ndimage.label(above, np.ones((3, 3, 3)))
    central = np.bincount(labels[radius <= CENTRE * n], minlength=count + 1)
    central[0] = 0
    if not central.any():
        return none
    mask = _without_neighbours(ndimage.binary_fill_holes(labels == central.argmax()), radius <= CENTRE * n)
    places = grid[:, mask].T.astype(np.float64)
    offsets = places - places.mean(axis=0)
    reach = np.percentile(np.sqrt((offsets**2).sum(axis=1)), EXTENT)
    # 1/12: the extent of a voxel itself
    shortest, middle, longest = np.sqrt(
        np.linalg.eigvalsh(offsets.T @ offsets / len(offsets) + np.eye(3) / 12)
    )
    shell = (radius <= RIM * n) & (radius > RIM * n - 1)
    return ParticleShape(
        float(2 * (reach + 0.5) * voxel_size),
        float(longest / middle),
        float(middle / shortest),
        float(mask[shell].mean()),
        mask,
    )


def _without_neighbours(mask: NDArray[np.bool_], central: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cut off neighbours that touch the structure at a narrow neck, and thin remnants of incomplete ones."""
    depth = ndimage.distance_transform_edt(mask)
    reach = NECK * depth.max()
    cores, count = ndimage.label(depth > reach, np.ones((3, 3, 3)))
    if not count:
        return mask
    # of several cores, the one with most voxels near the centre; if none is there, the largest
    sizes = np.bincount(cores[central], minlength=count + 1)
    sizes = sizes if sizes[1:].any() else np.bincount(cores.ravel())
    sizes[0] = 0
    beyond = ndimage.distance_transform_edt(cores != sizes.argmax())
    return np.asarray(mask & (beyond <= reach + 0.5))
