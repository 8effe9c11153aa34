"""Pictures of right and wrong classes for docs/believe.md, from simulated particles with known truth.

`python -m benchmarks.believe_pictures` writes docs/images/believe.png.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial.transform import Rotation

from cryopipe.evidence.added_molecules import Imaging, imaged
from cryopipe.files.atomic import atomic_path
from cryopipe.installation import ROOT
from cryopipe.report.plots import arranged, slice_row
from cryopipe.simulation import EXAMPLES, phantom
from cryopipe.volume.geometry import random_rotations
from cryopipe.volume.rotate import rotate_volumes

PAGE_PICTURE = ROOT / "docs" / "images" / "believe.png"
EDGE, VOXEL = 40, 12.0
NOISE = 0.5
"""Standard deviation of a voxel; the density of protein is 1."""
IMAGING = Imaging((-60.0, 60.0), None, 1.0)
FloatArray = NDArray[np.float32]


def density_of(name: str) -> FloatArray:
    """Return an example species (z, y, x) in a cube of edge `EDGE`."""
    found = phantom(EXAMPLES[name], VOXEL, 2.2 * VOXEL).density
    start = (found.shape[0] - EDGE) // 2
    if start >= 0:
        return found[(slice(start, start + EDGE),) * 3]
    return np.pad(found, [(-start, EDGE - found.shape[0] + start)] * 3)


def membrane() -> FloatArray:
    """Return a flat bilayer (z, y, x) across x."""
    x = (np.arange(EDGE) - EDGE // 2) * VOXEL
    profile = np.exp(-(((np.abs(x) - 18) / 10) ** 2) / 2)
    return np.broadcast_to(profile, (EDGE,) * 3).astype(np.float32)


def average(densities: Sequence[FloatArray], rotations: Rotation, rng: np.random.Generator) -> FloatArray:
    """Return the average (z, y, x) of noisy particles with a missing wedge, one of each rotation, the densities in turn."""
    total = torch.zeros((EDGE,) * 3)
    for number, matrix in enumerate(rotations.as_matrix()):
        pose = torch.from_numpy(matrix)[None].float()
        one = torch.from_numpy(np.array(densities[number % len(densities)]))[None]
        placed = rotate_volumes(one, pose)
        noise = torch.from_numpy(rng.normal(0, NOISE, placed.shape)).float()
        total += rotate_volumes(imaged(placed + noise, VOXEL, IMAGING), pose.transpose(1, 2))[0]
    return (total / len(rotations)).numpy()


def picked_noise(count: int, rng: np.random.Generator) -> FloatArray:
    """Return the average of boxes at the highest maxima of a picking filter in white noise."""
    volume = rng.normal(0, NOISE, (160, 160, 160))
    filtered = gaussian_filter(volume, 4.0) - gaussian_filter(volume, 6.0)
    half = EDGE // 2
    inside = (slice(half, -half),) * 3
    peaks = np.argwhere((maximum_filter(filtered, 9) == filtered)[inside]) + half
    order = np.argsort(-filtered[tuple(peaks.T)])[:count]
    boxes = [volume[tuple(slice(c - half, c + half) for c in peak)] for peak in peaks[order]]
    return gaussian_filter(np.mean(boxes, axis=0), 1.5).astype(np.float32)


def examples(seed: int = 1, count: int = 150) -> dict[str, FloatArray]:
    """Return averages of `count` particles of known contents by caption."""
    rng = np.random.default_rng(seed)
    ribosome, proteasome = density_of("ribosome_like"), density_of("proteasome_like")
    narrow = Rotation.from_rotvec(rng.normal(0, 0.15, (count, 3)))
    any_way = random_rotations(count, rng)
    about_normal = Rotation.from_rotvec(np.outer(rng.uniform(0, 2 * np.pi, count), [1.0, 0.0, 0.0]))
    return {
        "a particle": average([ribosome], any_way, rng),
        "two species": average([ribosome, proteasome], any_way, rng),
        "one orientation": average([ribosome], narrow, rng),
        "a membrane": average([membrane()], about_normal, rng),
        "picked noise": picked_noise(count, rng),
    }


def believe_picture(seed: int = 1) -> Image.Image:
    """Draw the averages of `examples`: xy slices above, xz slices below, each with its own grey scale."""
    rows = []
    maps = examples(seed)
    for title, axes in (("xy", (0, 1, 2)), ("xz", (1, 0, 2))):
        pictures = [
            slice_row(title if number == 0 else "", one.transpose(axes)[None], [caption])
            for number, (caption, one) in enumerate(maps.items())
        ]
        rows.append(pictures)
    return arranged(rows)


if __name__ == "__main__":
    with atomic_path(PAGE_PICTURE) as temporary:
        believe_picture().save(temporary, "PNG")
