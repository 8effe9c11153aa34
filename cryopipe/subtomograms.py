"""Extraction of subtomograms: boxes around particles, rescaled to one box size and one voxel size.

Around each particle, more voxels than needed are cut out. They are treated as samples of a periodic, band-limited
function; frequencies above the Nyquist limit of either voxel size are removed, and the function is evaluated at
the positions of the new voxels. Rescaling, sub-voxel shift and anti-aliasing are thus one matrix product per axis,
exact at every ratio of voxel sizes, with the particle's coordinate at n // 2.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.config.option import Options, option
from cryopipe.errors import DataError
from cryopipe.files.opening import release_pages
from cryopipe.progress import Progress
from cryopipe.volume.padding import Region, find_padding
from cryopipe.volume.statistics import grey_values
from cryopipe.volume.windows import overlap_windows

logger = logging.getLogger(__name__)

_MARGIN = 4
"""Voxels of the coarser voxel size, cut out beyond the box on every side because of the assumed periodicity."""
_LARGEST_BATCH = 32
"""Boxes; the arrays of larger batches do not fit into a processor's cache."""
_COPIES = 4
"""Number of arrays of the size of a batch of cut-outs in memory at a time."""
_BATCH_BYTES = 2**29
"""Memory limit of these arrays. Not an option: the last digit of a box depends on the size of its batch."""


@dataclass(frozen=True)
class SubtomogramOptions(Options):
    """Extraction and rescaling of boxes for feature learning."""

    SECTION: ClassVar[str] = "subtomograms"

    box_size: int = option(
        32, "Edge length of the boxes; an even number.", unit="voxel", minimum=8, maximum=512, multiple_of=2
    )
    voxel_size: float = option(
        13.33,
        "Voxel size of the boxes; all boxes are rescaled to it.",
        unit="angstrom",
        minimum=0.1,
        maximum=1000,
    )
    border: str = option(
        "fill",
        "For boxes that reach beyond the tomogram: fill replaces the missing voxels by noise with the mean and standard "
        "deviation of the rest of the box, drop discards the box. Padding is treated as beyond the tomogram.",
        choices=["fill", "drop"],
    )


@dataclass
class _Counts:
    """Numbers of particles by outcome."""

    cut: int = 0
    filled: int = 0
    border: int = 0
    constant: int = 0


def extract_subtomograms(
    volume: NDArray[Any],
    coordinates: NDArray[np.float64],
    voxel_size: float,
    options: SubtomogramOptions,
    contrast: str,
    rng: np.random.Generator,
    *,
    device: torch.device | str = "cpu",
    name: str = "a tomogram",
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Cut out, rescale and normalise one box per particle.

    Parameters
    ----------
    volume
        Tomogram (z, y, x) of any number type; from a memory map only the boxes are read, in the order of z.
    coordinates
        (n, 3) particle centres x, y, z in 0-based voxels of the tomogram; fractions are kept.
    voxel_size
        Of the tomogram, angstrom.
    options
        Size of the boxes and their treatment at the border.
    contrast
        "dark" or "bright" particles in the tomogram; in the boxes they are bright.
    rng
        Source of the noise at borders. The noise of a particle does not depend on the batches.
    device
        Device of the rescaling.
    name
        The tomogram's name or file, for messages.

    Yields
    ------
    Indices into `coordinates` (m,) and their boxes (m, z, y, x) of mean 0 and standard deviation 1. Particles
    dropped at the border or because their box is constant are not yielded; their number is logged.

    Raises
    ------
    DataError
        If a particle's centre is outside the tomogram, or a box contains NaN, infinite values or values above 1e12.
    """
    centres = np.asarray(coordinates, dtype=np.float64).reshape(-1, 3)[:, ::-1]
    _check_centres(centres, volume.shape, name)
    seeds = rng.integers(2**63, size=len(centres))
    scale = options.voxel_size / voxel_size
    inside = [_inside(centres, options.box_size, scale, axis, n) for axis, n in enumerate(volume.shape)]
    region = Region(volume.shape, find_padding(volume))
    whole = np.logical_and.reduce([flags.all(axis=1) for flags in inside])
    if not region.whole:
        for particle in np.flatnonzero(whole):
            whole[particle] = _known(centres[particle], options.box_size, scale, region).all()
    counts = _Counts()
    if options.border == "drop":
        counts.border = int((~whole).sum())
    wanted = np.flatnonzero(whole) if options.border == "drop" else np.arange(len(centres))
    wanted = wanted[np.lexsort(centres[wanted].T[::-1])]
    half = math.ceil(options.box_size / 2 * scale + _MARGIN * max(1.0, scale)) + 1
    counter = Progress(len(wanted), "boxes", f"cutting boxes from {name}")
    for batch in _batches(wanted, 2 * half + 1):
        boxes = _rescaled(
            _cut(volume, region, centres[batch], half, name), centres[batch], scale, options.box_size, device
        )
        if contrast != "bright":
            boxes = -boxes
        for box, particle in zip(boxes, batch, strict=True):
            if not whole[particle]:
                known = _known(centres[particle], options.box_size, scale, region)
                _fill(box, known, np.random.default_rng(seeds[particle]))
        valid = _normalise(boxes)
        counter.advance(len(batch))
        counts.cut += int(valid.sum())
        counts.filled += int((valid & ~whole[batch]).sum())
        counts.constant += int((~valid).sum())
        if valid.any():
            yield batch[valid], boxes[valid]
    logger.info(
        "%s: %d boxes, %d of them partly filled with noise at the border or padding; "
        "%d dropped at the border or padding, %d dropped as constant",
        name, counts.cut, counts.filled, counts.border, counts.constant,
    )  # fmt: skip


def _check_centres(centres: NDArray[np.float64], shape: tuple[int, ...], name: str) -> None:
    outside = ~((centres >= -0.5) & (centres < np.array(shape) - 0.5)).all(axis=1)
    if outside.any():
        z, y, x = centres[int(np.argmax(outside))]
        raise DataError(
            f"{outside.sum()} particles are outside the tomogram of {shape[2]} x {shape[1]} x {shape[0]} voxels, "
            f"the first at {x:.1f}, {y:.1f}, {z:.1f}",
            file=name,
            remedy="use coordinates in voxels of this tomogram",
        )


def _inside(
    centres: NDArray[np.float64], box_size: int, scale: float, axis: int, count: int
) -> NDArray[np.bool_]:
    """Return (n, box size): whether each voxel of a particle's box along one axis is inside the tomogram."""
    places = _places(centres[:, axis, None], box_size, scale)
    return (places >= -0.5) & (places <= count - 0.5)


def _places(centre: NDArray[np.float64], box_size: int, scale: float) -> NDArray[np.float64]:
    """Return the positions of a box's voxels along one axis of the tomogram, voxels."""
    return (np.arange(box_size) - box_size // 2) * scale + centre


def _known(centre: NDArray[np.float64], box_size: int, scale: float, region: Region) -> NDArray[np.bool_]:
    """Return (z, y, x): whether each voxel of the box around `centre` is in the tomogram and not in padding."""
    places = [_places(c, box_size, scale) for c in centre]
    z, y, x = ((place >= -0.5) & (place <= n - 0.5) for place, n in zip(places, region.shape, strict=True))
    nearest = [
        np.clip(np.rint(place), 0, n - 1).astype(np.int64)
        for place, n in zip(places, region.shape, strict=True)
    ]
    return z[:, None, None] & y[:, None] & x & region.grid(*nearest)


def _batches(wanted: NDArray[np.int64], edge: int) -> Iterator[NDArray[np.int64]]:
    """Split the list of particles into batches whose cut-outs, `edge` voxels wide, fit into `_BATCH_BYTES`."""
    size = int(np.clip(_BATCH_BYTES / (_COPIES * 4 * edge**3), 1, _LARGEST_BATCH))
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]


def _cut(
    volume: NDArray[Any], region: Region, centres: NDArray[np.float64], half: int, name: str
) -> NDArray[np.float32]:
    """Return cut-outs (n, z, y, x) of edge 2 half + 1 around each centre, mirrored beyond the faces.

    Padding is replaced by the mean of the rest, which avoids ringing from its edge.
    """
    boxes = np.empty((len(centres), *(2 * half + 1,) * 3), dtype=np.float32)
    for box, centre in zip(boxes, np.rint(centres).astype(int), strict=True):
        source, target = overlap_windows(centre - half, box.shape, volume.shape)
        part = grey_values(volume[source], name)
        if not region.whole:
            known = region.grid(*(np.arange(axis.start, axis.stop) for axis in source))
            part[~known] = part[known].mean() if known.any() else 0
        missing = [(axis.start, size - axis.stop) for axis, size in zip(target, box.shape, strict=True)]
        release_pages(volume)
        box[:] = np.pad(part, missing, mode="symmetric")
    return boxes


def _rescaled(
    boxes: NDArray[np.float32],
    centres: NDArray[np.float64],
    scale: float,
    box_size: int,
    device: torch.device | str,
) -> NDArray[np.float32]:
    """Resample cut-outs to voxels `scale` old voxels apart, with the particle's centre at box_size // 2."""
    source = torch.from_numpy(boxes).to(device)
    source -= source.mean(dim=(1, 2, 3), keepdim=True)
    edge = source.shape[-1]
    fractions = torch.from_numpy(centres - np.rint(centres)).to(device)
    # The last axis is resampled and moved to the front, three times: z y x, x z y, y x z, z y x.
    result = source
    for axis in (2, 1, 0):
        weights = _sampling_matrices(fractions[:, axis], edge, box_size, scale).to(source)
        first, second = result.shape[1:3]
        result = (result.flatten(1, 2) @ weights.mT).unflatten(1, (first, second)).movedim(-1, 1)
    return np.ascontiguousarray(result.cpu().numpy())


def _sampling_matrices(fractions: Tensor, edge: int, box_size: int, scale: float) -> Tensor:
    """Return (n, box_size, edge) weights of `edge` voxels (odd) in samples around their centre plus a fraction.

    A row is a periodic sinc function: the sum of all waves of `edge` voxels below the Nyquist limit of the
    samples. With an odd number of voxels there is no wave at their own Nyquist limit, whose phase would be
    lost. The weights fall off beyond the samples, which avoids ringing from density cut by the edge.
    """
    steps = (torch.arange(box_size, dtype=torch.float64, device=fractions.device) - box_size // 2) * scale
    places = edge // 2 + fractions[:, None] + steps
    orders = torch.arange(edge // 2 + 1, dtype=torch.float64, device=fractions.device)
    orders = orders[orders / edge < 0.5 / max(scale, 1.0) * (1 + 1e-9)]
    amplitudes = torch.where(orders == 0, 1.0, 2.0) / edge
    wave_numbers = 2 * math.pi * orders / edge
    voxels = torch.arange(edge, dtype=torch.float64, device=fractions.device)
    at_places, at_voxels = places[..., None] * wave_numbers, voxels[:, None] * wave_numbers
    cosines = (torch.cos(at_places) * amplitudes) @ torch.cos(at_voxels).T
    sinc = cosines + (torch.sin(at_places) * amplitudes) @ torch.sin(at_voxels).T
    return sinc * _taper((voxels - edge // 2).abs(), box_size / 2 * scale + 0.5, edge // 2 + 1)


def _taper(distance: Tensor, reach: float, end: float) -> Tensor:
    """Return 1 up to a distance of `reach` voxels from the centre, then half a cosine down to 0 at `end`."""
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - reach) / (end - reach)).clamp(0, 1))


def _fill(box: NDArray[np.float32], known: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Replace unknown voxels by normal noise with the mean and standard deviation of the rest, in place."""
    values = box[known] if known.any() else np.zeros(1)
    box[~known] = rng.normal(values.mean(), values.std(), size=int((~known).sum()))


def _normalise(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Normalise every box to mean 0 and standard deviation 1, in place; return which boxes are not constant."""
    axes = (1, 2, 3)
    largest = np.abs(boxes).max(axis=axes, keepdims=True)
    boxes -= boxes.mean(axis=axes, keepdims=True, dtype=np.float64)
    deviation = boxes.std(axis=axes, keepdims=True, dtype=np.float64)
    valid = deviation > 1e-6 * np.maximum(largest, np.finfo(np.float32).tiny)
    np.divide(boxes, deviation, out=boxes, where=valid)
    return valid.reshape(-1)
