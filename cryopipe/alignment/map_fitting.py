"""Comparison of an average with a true map that is rotated and shifted to fit it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe.volume.fourier import fourier_rescale, low_pass
from cryopipe.volume.fsc import FSC, fourier_shell_correlation, resolution_at
from cryopipe.volume.geometry import rotation_grid
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.rotate import rotate_volumes

COARSE_BOX = 24
"""Box size in voxels of the exhaustive search."""
COARSE_ANGLE = 18.0
"""Covering radius in degrees of the exhaustive search."""
CANDIDATES = 6
"""Poses of the exhaustive search that are refined."""
BATCH = 64


@dataclass(frozen=True)
class MapFit:
    """The best fit of a true map to an average.

    Attributes
    ----------
    rotation
        From the true map to the average (active, xyz).
    shift
        Displacement of the true map after the rotation, (3,) xyz, angstrom.
    correlation
        Of the average and the fitted map inside a sphere, -1 to 1.
    mirror_correlation
        The same for the best fit of the mirrored map; if it is as high, the average does not determine the
        handedness.
    fsc
        Fourier shell correlation of the average and the fitted map.
    resolution
        Angstrom, where the FSC falls below 0.5; infinite if the first shell is below.
    """

    rotation: Rotation
    shift: np.ndarray
    correlation: float
    mirror_correlation: float
    fsc: FSC
    resolution: float


def fit_map(average: np.ndarray, voxel_size: float, true_map: np.ndarray, true_voxel_size: float) -> MapFit:
    """Fit a true map to an average and correlate the two.

    All rotations and shifts are searched at low resolution, the shifts by Fourier correlation. The best poses
    are refined at low resolution, and the best of these at full resolution.

    Parameters
    ----------
    average
        (n, n, n), zyx.
    voxel_size, true_voxel_size
        Angstrom.
    true_map
        (z, y, x) of any size; it is resampled to the average's box and voxel size.
    """
    target = _standardised(torch.as_tensor(np.array(average, dtype=np.float32)))
    source = torch.as_tensor(np.array(true_map, dtype=np.float32))
    source = fourier_rescale(source, true_voxel_size, voxel_size, tuple(target.shape))
    mirrored = torch.roll(source.flip(0), 1 - target.shape[0] % 2, dims=0)
    rotation, shift, correlation = _fit(target, _standardised(source), voxel_size)
    _, _, mirror_correlation = _fit(target, _standardised(mirrored), voxel_size)
    fitted = _transformed(source, rotation, shift, "cubic")[0]
    fsc = fourier_shell_correlation(target, fitted, voxel_size, _mask(target.shape[0]))
    return MapFit(
        Rotation.from_matrix(rotation[0].numpy()),
        shift[0].numpy() * voxel_size,
        correlation,
        mirror_correlation,
        fsc,
        resolution_at(fsc, 0.5),
    )


def _fit(target: Tensor, source: Tensor, voxel_size: float) -> tuple[Tensor, Tensor, float]:
    """Return the best rotation (1, 3, 3), shift (1, 3) in voxels, and correlation."""
    box = target.shape[0]
    coarse = min(box, COARSE_BOX)
    scale = box / coarse
    resolution = 2.5 * voxel_size * scale
    coarse_target, coarse_source = (
        fourier_rescale(low_pass(volume, resolution, voxel_size), 1.0, scale, coarse)
        for volume in (target, source)
    )
    matrices, shifts = _search(coarse_target, coarse_source)
    fits = [refine_pose(coarse_target, coarse_source, m[None], s[None], 10.0, 1.0)
            for m, s in zip(matrices, shifts, strict=True)]  # fmt: skip
    rotation, shift, _ = max(fits, key=lambda fit: fit[2])
    return refine_pose(target, source, rotation, shift * scale, 4.0, scale / 2)


def _search(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Search all rotations and whole-voxel shifts; return the best k, (k, 3, 3) and (k, 3) xyz voxels."""
    box = target.shape[0]
    matrices = torch.as_tensor(rotation_grid(COARSE_ANGLE).as_matrix(), dtype=torch.float32)
    transform = torch.fft.rfftn(target * _mask(box)).conj()
    limit = box // 4
    scores, places = [], []
    for batch in matrices.split(BATCH):
        rotated = rotate_volumes(source[None], batch) * _mask(box)
        correlations = torch.fft.irfftn(torch.fft.rfftn(rotated, dim=(1, 2, 3)) * transform, s=target.shape)
        correlations = correlations.roll((limit, limit, limit), (1, 2, 3))[
            :, : 2 * limit + 1, : 2 * limit + 1, : 2 * limit + 1
        ]
        best, index = correlations.flatten(1).max(dim=1)
        scores.append(best / rotated.flatten(1).norm(dim=1))
        places.append(index)
    chosen = torch.cat(scores).topk(CANDIDATES).indices
    index, side = torch.cat(places)[chosen], 2 * limit + 1
    lags = torch.stack([index % side, index // side % side, index // side**2], dim=1) - limit
    # The lag is the displacement of the rotated map from the target; the shift is its opposite.
    return matrices[chosen], -lags.float()


def refine_pose(
    target: Tensor, source: Tensor, rotation: Tensor, shift: Tensor, degrees: float, voxels: float
) -> tuple[Tensor, Tensor, float]:
    """Improve a pose by steps along its six axes; the steps are halved when none improves the correlation.

    Parameters
    ----------
    target, source
        (n, n, n) maps; `source` is rotated and shifted.
    rotation, shift
        Initial pose: (1, 3, 3) and (1, 3) xyz voxels.
    degrees, voxels
        Initial steps; the last step is 0.25 degrees.

    Returns
    -------
    Rotation, shift, and the correlation inside a sphere.
    """
    steps = torch.cat([torch.eye(6), -torch.eye(6)])
    best = float(_correlations(target, _transformed(source, rotation, shift))[0])
    while degrees > 0.25:
        increments = Rotation.from_rotvec((steps[:, :3] * degrees).numpy(), degrees=True).as_matrix()
        rotations = torch.as_tensor(increments, dtype=torch.float32) @ rotation
        shifts = shift + steps[:, 3:] * voxels
        scores = _correlations(target, _transformed(source, rotations, shifts))
        winner = int(scores.argmax())
        if float(scores[winner]) > best + 1e-6:
            best, rotation, shift = float(scores[winner]), rotations[winner][None], shifts[winner][None]
        else:
            degrees, voxels = degrees / 2, voxels / 2
    return rotation, shift, best


def _transformed(source: Tensor, rotations: Tensor, shifts: Tensor, interpolation: str = "linear") -> Tensor:
    if interpolation == "cubic":
        return rotate_volumes(source[None], rotations, shifts, interpolation="cubic")
    return rotate_volumes(source[None], rotations, shifts)


def _correlations(target: Tensor, volumes: Tensor) -> Tensor:
    mask = _mask(target.shape[0])
    a, b = (target * mask).flatten(), (volumes * mask).flatten(1)
    a, b = a - a.mean(), b - b.mean(dim=1, keepdim=True)
    return (b @ a) / (a.norm() * b.norm(dim=1)).clamp(min=1e-12)


def _mask(box: int) -> Tensor:
    edge = max(1.0, box / 10)
    return sphere_mask(box, box / 2 - 1 - edge, edge)


def _standardised(volume: Tensor) -> Tensor:
    return (volume - volume.mean()) / volume.std().clamp(min=1e-12)
