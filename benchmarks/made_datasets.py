"""Synthetic datasets of any size: tomograms with pasted particles, and large sparse tomograms.

They do not resemble real tomograms, but take the workflow as much time and memory as real ones of their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import DTypeLike, NDArray

from cryopipe.files.atomic import write_text
from cryopipe.files.mrc import write_sparse_volume, write_volume
from cryopipe.progress import Progress
from cryopipe.simulation.phantoms import stock_phantoms
from cryopipe.simulation.rendering import ParticleRenderer, paste, random_matrices
from cryopipe.volume.wedge import wedge_mask

VOXEL_SIZE = 13.33
"""Angstrom."""
RESOLUTION = 30.0
PER_TOMOGRAM = 1000
"""Particles."""
SPACING = 20
"""Voxels between neighbouring sites of the particle lattice."""
JITTER = 2
"""Maximum displacement of a particle from its site, voxels along each axis."""
LAYERS = 6
"""Sites along z."""
SPECIES = 4
LARGEST_RADIUS = 120.0
"""Angstrom; of the pasted particles."""
TILT_RANGE = (-60.0, 60.0)
NOISE = 3.0
"""Standard deviation of the noise, relative to that of the particles."""
_LEVELS = 20.0
_PATCH = (64, 256)
"""Size along z and y of the stored slab of a sparse volume, in voxels; along x it has the full size."""


class PastedTomograms:
    """Tomograms of particles on a jittered lattice in noise, with the missing wedge of a tilt series.

    Parameters
    ----------
    seed
        The same seed and number give the same tomogram.
    """

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        phantoms = stock_phantoms(SPECIES, VOXEL_SIZE, RESOLUTION, 1, LARGEST_RADIUS)
        self._renderer = ParticleRenderer(phantoms)

    def volume(self, particles: int, number: int) -> NDArray[np.int8]:
        """Return tomogram `number` with `particles` particles: int8 array (z, y, x), particles dark."""
        generator = torch.Generator().manual_seed(1000 * self._seed + number)
        edge = math.ceil(math.sqrt(particles / LAYERS))
        sites = torch.cartesian_prod(torch.arange(LAYERS), torch.arange(edge), torch.arange(edge))
        sites = sites[torch.randperm(len(sites), generator=generator)[:particles]]
        jitter = torch.randint(-JITTER, JITTER + 1, sites.shape, generator=generator)
        patch = self._renderer.patch_size
        margin = JITTER + max(0, patch - SPACING)
        scene = torch.zeros(1, *(SPACING * count + 2 * margin for count in (LAYERS, edge, edge)))
        patches = self._renderer.render(
            torch.randint(SPECIES, (particles,), generator=generator),
            random_matrices(particles, generator),
            torch.zeros(particles, 3),
        )
        corners = SPACING * sites + jitter + margin
        paste(scene, patches, corners, torch.zeros(particles, dtype=torch.long), torch.arange(particles))
        noisy = scene[0] / patches.std() + NOISE * torch.randn(scene.shape[1:], generator=generator)
        mask = wedge_mask(tuple(noisy.shape), TILT_RANGE)[..., : noisy.shape[2] // 2 + 1]
        filtered = torch.fft.irfftn(torch.fft.rfftn(noisy) * mask, s=noisy.shape)
        levels = -_LEVELS * (filtered - filtered.mean()) / filtered.std()
        return levels.clamp(-127, 127).round().to(torch.int8).numpy()


def write_sparse_tomogram(
    path: Path, shape_zyx: tuple[int, int, int], dtype: DTypeLike, seed: int = 1
) -> None:
    """Write a sparse MRC file of any size: a slab of noise with balls, the rest not stored.

    Parts that are not stored take no disk space and read as zeros, in the same time as stored voxels.

    Parameters
    ----------
    path
        The file.
    shape_zyx
        Voxels.
    dtype
        int8, int16 or float32.
    seed
        Random seed of the noise.
    """
    kind = np.dtype(dtype)
    slab = _slab_of_balls(shape_zyx, np.random.default_rng(seed))
    limit = np.iinfo(kind).max if kind.kind == "i" else np.inf
    values = np.clip(slab, -limit, limit).astype(kind)
    write_sparse_volume(path, shape_zyx, kind, VOXEL_SIZE, _rows(values, shape_zyx))


def _slab_of_balls(shape_zyx: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the stored part of the volume: dark balls in noise."""
    depth, height = (min(size, most) for size, most in zip(shape_zyx, _PATCH, strict=False))
    slab = rng.normal(0, _LEVELS, (depth, height, shape_zyx[2])).astype(np.float32)
    middle, radius = depth // 2, 9
    z, y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
    ball = 1.5 * _LEVELS * (z**2 + y**2 + x**2 <= radius**2)
    for row in range(2 * radius, height - 2 * radius, 3 * radius):
        for column in range(2 * radius, shape_zyx[2] - 2 * radius, 3 * radius):
            z0, y0, x0 = (place - radius for place in (middle, row, column))
            edge = 2 * radius + 1
            slab[z0 : z0 + edge, y0 : y0 + edge, x0 : x0 + edge] -= ball
    return slab


def _rows(slab: NDArray[Any], shape_zyx: tuple[int, int, int]) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield the stored parts of the volume: one line of noise per section and, in the middle, the slab."""
    planes, height, _ = shape_zyx
    # Without these lines most sections would be constant, which the check rejects.
    count = math.ceil(height / planes)
    for z in range(planes):
        yield z, min(z * count, height - count) if count > 1 else z * height // planes, slab[0, :count]
    first_z, first_y = ((size - held) // 2 for size, held in zip(shape_zyx, slab.shape[:2], strict=False))
    for z, section in enumerate(slab, first_z):
        yield z, first_y, section


@dataclass(frozen=True)
class MadeDataset:
    """A dataset in its own folder, ready for the workflow.

    Attributes
    ----------
    name
        particles_N, voxels_XxYxZ_TYPE or tomograms_N.
    folder
        Contains config/ and tomograms/.
    tomograms
        Number of tomograms.
    megavoxels
        Sum over all tomograms.
    """

    name: str
    folder: Path
    tomograms: int
    megavoxels: float

    @property
    def empty(self) -> bool:
        """Whether the tomograms are empty files, which allow planning but no processing."""
        return self.name.startswith("tomograms_")


def make_dataset(name: str, folder: Path) -> MadeDataset:
    """Write a dataset's tomograms, their table and the configuration.

    Parameters
    ----------
    name
        particles_N: N particles, 1000 per tomogram. voxels_XxYxZ_TYPE: one sparse tomogram. tomograms_N: N empty
        files.
    folder
        Target folder; created if it does not exist.
    """
    kind, *words = name.split("_")
    places = folder / "tomograms"
    places.mkdir(parents=True, exist_ok=True)
    averaging: dict[str, object] = {}
    if kind == "particles":
        tomograms, voxels = math.ceil(int(words[0]) / PER_TOMOGRAM), 0
        maker = PastedTomograms()
        counter = Progress(tomograms, "tomograms", "pasting")
        for number in range(tomograms):
            volume = maker.volume(min(PER_TOMOGRAM, int(words[0])), number)
            write_volume(places / f"{_tomogram(number)}.mrc", volume, VOXEL_SIZE)
            voxels += volume.size
            counter.advance()
    elif kind == "voxels":
        x, y, z = (int(size) for size in words[0].split("x"))
        tomograms, voxels = 1, x * y * z
        write_sparse_tomogram(places / f"{_tomogram(0)}.mrc", (z, y, x), words[1])
        # The averages are not the point here.
        averaging = {"initial_models": 1, "initial_iterations": 2, "refinement_iterations": 1}
    else:
        tomograms, voxels = int(words[0]), 0
        for number in range(tomograms):
            (places / f"{_tomogram(number)}.mrc").touch()
    _write_configuration(folder, tomograms, averaging)
    return MadeDataset(name, folder, tomograms, voxels / 1e6)


def _tomogram(number: int) -> str:
    return f"tomogram_{number + 1:04d}"


def _write_configuration(folder: Path, tomograms: int, averaging: Mapping[str, object]) -> None:
    rows = [f"{_tomogram(number)}\ttomograms/{_tomogram(number)}.mrc" for number in range(tomograms)]
    configuration = {
        "tomograms": "config/tomograms.tsv",
        "pick": {"diameters": [200], "max_particles": PER_TOMOGRAM},
        "averaging": averaging,
        "evaluation": {"truth": None},
    }
    write_text(folder / "config" / "tomograms.tsv", "\n".join(["tomogram\tpath", *rows, ""]))
    write_text(folder / "config" / "config.yaml", yaml.safe_dump(configuration, sort_keys=False))
