"""Averages put back into the tomograms, at the particles' positions and orientations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe import columns
from cryopipe.progress import Progress
from cryopipe.volume.fourier import fourier_rescale
from cryopipe.volume.geometry import relion_angles, rotation_from_relion_angles
from cryopipe.volume.masks import sphere_mask

FloatArray = NDArray[np.float64]
logger = logging.getLogger(__name__)

FLAT = 1e-5
"""An average whose standard deviation is this fraction of its largest value has no structure."""
SMALLEST_PIECE = 0.1
"""Pieces of a thresholded average smaller than this fraction of the largest one are noise."""


@dataclass(frozen=True)
class ReembeddingOptions:
    """Options of the section `reembedding`; the schema holds their meaning and defaults.

    Attributes
    ----------
    threshold
        "sigma" or "mass": which of the next two sets the level of the labels' surface.
    sigma
        Standard deviations of the average above its mean.
    mass_fraction
        Fraction of the average's density above its mean that the surface encloses.
    particles
        "kept" places only particles that went into the average, "all" places all of the cluster.
    """

    threshold: str = "sigma"
    sigma: float = 2.0
    mass_fraction: float = 0.5
    particles: str = "kept"


@dataclass(frozen=True)
class Template:
    """An average, ready to be placed.

    Attributes
    ----------
    volume
        (z, y, x) float32, at the tomogram's voxel size, centred at n // 2; in standard deviations of the
        average above its mean, 0 away from the structure.
    level
        Above it a voxel belongs to the structure.
    """

    volume: NDArray[np.float32]
    level: float

    @cached_property
    def coefficients(self) -> NDArray[np.float32]:
        """(z, y, x) of the cubic B-spline that passes through the voxels."""
        return np.asarray(ndimage.spline_filter(self.volume, order=3, output=np.float32, mode="constant"))

    def turned(self, rotation: Rotation, shift_xyz: FloatArray) -> NDArray[np.float32]:
        """Return the template turned about its centre and then shifted by voxels x, y, z."""
        matrix_zyx = rotation.inv().as_matrix()[::-1, ::-1]
        centre = np.array(self.volume.shape) // 2
        return np.asarray(
            ndimage.affine_transform(
                self.coefficients,
                matrix_zyx,
                offset=centre - matrix_zyx @ (centre + shift_xyz[::-1]),
                order=3,
                prefilter=False,
            )
        )


@dataclass(frozen=True)
class Reembedded:
    """A tomogram filled with averages.

    Attributes
    ----------
    density
        (z, y, x) float32; where structures overlap, the larger value.
    labels
        (z, y, x) int16 cluster numbers, 0 where there is none; where structures overlap, that of the
        particle with the better score.
    placements
        One row per particle in the order of the input: particle, cluster, score, voxels (of its structure inside the
        tomogram), lost_voxels (of these, taken by particles with better scores), outside_voxels.
    """

    density: NDArray[np.float32]
    labels: NDArray[np.int16]
    placements: pd.DataFrame


def poses_of_table(table: pd.DataFrame) -> tuple[FloatArray, Rotation]:
    """Return the true positions and the rotations of a particle table.

    Parameters
    ----------
    table
        n rows with coordinates, origins, angles and voxel size; see `cryopipe.columns`.

    Returns
    -------
    (n, 3) x, y, z positions in 0-based voxels of the tomogram, shifts included, and n active rotations from
    the reference to the particle.
    """
    coordinates = table[list(columns.COORDINATES)].to_numpy(dtype=np.float64)
    origins = table[list(columns.ORIGINS)].to_numpy(dtype=np.float64)
    voxel_sizes = table[columns.VOXEL_SIZE].to_numpy(dtype=np.float64)
    angles = table[list(columns.ANGLES)].to_numpy(dtype=np.float64)
    return coordinates - origins / voxel_sizes[:, None], rotation_from_relion_angles(angles)


def choose_particles(
    tables: Sequence[pd.DataFrame], tomogram: str, options: ReembeddingOptions
) -> pd.DataFrame:
    """Return the particles to place in one tomogram.

    Parameters
    ----------
    tables
        Particles of clusters, with poses.
    tomogram
        Its name.
    options
        Whether particles that were left out of their average are placed.
    """
    chosen = []
    for table in tables:
        if not len(table):
            continue
        here = table[columns.TOMOGRAM].astype(str) == tomogram
        if options.particles == "kept" and columns.ALIGNMENT_KEPT in table:
            here &= table[columns.ALIGNMENT_KEPT] > 0
        chosen.append(table[here])
    names = [columns.TOMOGRAM, columns.PARTICLE, columns.CLASS, columns.VOXEL_SIZE]
    names += [*columns.COORDINATES, *columns.ANGLES, *columns.ORIGINS]
    filled = [table for table in chosen if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=names, dtype=float)


def make_template(
    average: Tensor, voxel_size: float, tomogram_voxel_size: float, options: ReembeddingOptions
) -> Template:
    """Turn an average into a template at a tomogram's voxel size.

    Parameters
    ----------
    average
        (n, n, n), particles bright.
    voxel_size, tomogram_voxel_size
        Of the average and of the tomogram, angstrom.
    options
        The rule for the level.

    Returns
    -------
    The template; its volume is 0 throughout, and a warning is logged, where the average is flat.
    """
    size = 2 * int(np.ceil(average.shape[-1] * voxel_size / tomogram_voxel_size / 2))
    scaled = fourier_rescale(average.float(), voxel_size, tomogram_voxel_size, size)
    inside = sphere_mask(size, size / 2 - 1, 0) > 0
    mean, spread = scaled[inside].mean(), scaled[inside].std()
    if spread <= FLAT * average.abs().max():
        logger.warning("an average is flat: nothing of it is placed")
        return Template(np.zeros((size,) * 3, dtype=np.float32), options.sigma)
    scaled = (scaled - mean) / spread
    level = _level(scaled[inside], options)
    structure = _large_pieces(((scaled > level) & inside).numpy())
    if not structure.any():
        logger.warning("nothing of an average lies above %.3g standard deviations and is placed", level)
    near = ndimage.binary_dilation(structure, iterations=2).astype(np.float32)
    # The structure itself stays as it is: only what lies beyond its rim is faded out.
    soft = np.where(structure, 1, ndimage.gaussian_filter(near, 0.7))
    return Template(_cropped(np.maximum(scaled.numpy() * soft, 0).astype(np.float32)), level)


def _level(values: Tensor, options: ReembeddingOptions) -> float:
    """Return the level for `values` in standard deviations above the mean."""
    if options.threshold == "sigma":
        return options.sigma
    descending = values[values > 0].sort(descending=True).values
    enclosed = descending.cumsum(0) / descending.sum().clamp(min=1e-12)
    index = int((enclosed < options.mass_fraction).sum())
    return float(descending[min(index, len(descending) - 1)])


def _cropped(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut off what stays empty however the volume is turned; its centre stays at n // 2."""
    centre = volume.shape[0] // 2
    places = np.argwhere(volume > 0) - centre
    reach = 2 + int(np.ceil(np.linalg.norm(places, axis=1).max(initial=0)))
    kept = slice(max(0, centre - reach), centre + reach)
    return volume if reach >= centre else volume[kept, kept, kept]


def _large_pieces(structure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Remove connected pieces below `SMALLEST_PIECE` of the largest."""
    pieces, count = ndimage.label(structure)
    if count == 0:
        return structure
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= SMALLEST_PIECE * sizes.max())[pieces]


def reembed(
    shape_zyx: tuple[int, int, int],
    templates: Mapping[int, Template],
    table: pd.DataFrame,
    what: str = "re-embedding",
) -> Reembedded:
    """Place every particle's average at its position and orientation, to a fraction of a voxel.

    Particles are placed by falling score, and the first one keeps a voxel of the labels that two
    structures claim; what the others lose is counted.

    Parameters
    ----------
    shape_zyx
        Of the tomogram.
    templates
        By cluster number, at the tomogram's voxel size.
    table
        Particles of this tomogram with poses, class number and, for the order, alignment scores.
    what
        For the progress messages.
    """
    positions, rotations = poses_of_table(table)
    clusters = table[columns.CLASS].to_numpy(dtype=np.int64)
    scores = _scores(table)
    density = np.zeros(shape_zyx, dtype=np.float32)
    labels = np.zeros(shape_zyx, dtype=np.int16)
    counts = np.zeros((len(table), 3), dtype=np.int64)
    order = np.argsort(-scores, kind="stable")
    counter = Progress(len(table), "particles", what)
    for row in order:
        whole = np.rint(positions[row])
        template = templates[int(clusters[row])]
        box = template.turned(rotations[int(row)], positions[row] - whole)
        counts[row] = _place(density, labels, box, whole.astype(np.int64), template.level, int(clusters[row]))
        counter.advance()
    if counts[:, 1].any():
        logger.info(
            "%s: %d of %d particles lose %d of %d voxels to particles with better scores",
            *(what, (counts[:, 1] > 0).sum(), len(table), counts[:, 1].sum(), counts[:, 0].sum()),
        )
    placements = pd.DataFrame(
        {
            "particle": table[columns.PARTICLE].astype(str).to_numpy(),
            "cluster": clusters,
            "score": scores,
            "voxels": counts[:, 0],
            "lost_voxels": counts[:, 1],
            "outside_voxels": counts[:, 2],
        }
    )
    return Reembedded(density, labels, placements)


def _scores(table: pd.DataFrame) -> FloatArray:
    for name in (columns.ALIGNMENT_SCORE, columns.POSTERIOR):
        if name in table:
            return table[name].to_numpy(dtype=np.float64)
    return np.zeros(len(table))


def _place(
    density: NDArray[np.float32],
    labels: NDArray[np.int16],
    box: NDArray[np.float32],
    centre_xyz: NDArray[np.int64],
    level: float,
    label: int,
) -> tuple[int, int, int]:
    """Write one turned template into the volumes; return its voxels inside, lost and outside."""
    low = centre_xyz[::-1] - np.array(box.shape) // 2
    begin = np.clip(-low, 0, box.shape)
    end = np.clip(np.array(density.shape) - low, 0, box.shape)
    total = int((box > level).sum())
    if (end <= begin).any():
        return 0, 0, total
    source = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
    target = tuple(slice(b + o, e + o) for b, e, o in zip(begin, end, low, strict=True))
    np.maximum(density[target], box[source], out=density[target])
    structure = box[source] > level
    free = labels[target] == 0
    labels[target][structure & free] = label
    inside = int(structure.sum())
    return inside, int((structure & ~free).sum()), total - inside


def artiax_table(table: pd.DataFrame, tomogram_numbers: Mapping[str, int]) -> pd.DataFrame:
    """Return particles as the ChimeraX plug-in ArtiaX reads them from a RELION STAR file.

    ArtiaX sorts and colours by columns that are numbers, so that tomograms are given by number; shifts are
    part of the coordinates, which count in voxels of the tomogram.

    Parameters
    ----------
    table
        Particles with poses.
    tomogram_numbers
        Number of every tomogram.
    """
    positions, rotations = poses_of_table(table)
    numbers = [str(tomogram_numbers[name]) for name in table[columns.TOMOGRAM].astype(str)]
    result = pd.DataFrame({columns.TOMOGRAM: pd.Series(numbers, dtype=str)})
    for axis, name in enumerate(columns.COORDINATES):
        result[name] = positions[:, axis]
    angles = relion_angles(rotations) if len(table) else np.zeros((0, 3))
    for axis, name in enumerate(columns.ANGLES):
        result[name] = angles[:, axis]
    for name in columns.ORIGINS:
        result[name] = np.zeros(len(table))
    for name in (columns.CLASS, columns.ALIGNMENT_SCORE, columns.POSTERIOR, columns.PICK_SCORE):
        if name in table:
            result[name] = table[name].to_numpy()
    return result
