"""Export to RELION 3.1: particle tables with optics groups and, on request, subtomograms with wedge volumes.

Coordinates are whole 0-based voxels of the tomogram, the voxel at `box size // 2` of the box; the origins contain the
remainder, because RELION's own extraction truncates coordinates. RELION >= 4 reads the same files for 3D subtomograms.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.list_reading import find_tomograms, numbers_of, particle_set
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.relion_boxes import cut_boxes, even_box_size
from cryopipe.export.writer import ExportContext, Written, lists_of, rows_in_clusters
from cryopipe.files.cluster_averages import cluster_name
from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.star import read_star, write_particles
from cryopipe.particles import rotations_of_table, shifts_of_table
from cryopipe.progress import progress
from cryopipe.volume.geometry import relion_angles

logger = logging.getLogger(__name__)

OPTICS = "rlnOpticsGroup"
IMAGE = "rlnImageName"
WEDGE = "rlnCtfImage"
GROUP = "rlnGroupName"
SMALL_GROUP = 10
"""RELION warns of noise groups with fewer particles; tomograms below it share one."""
LEAN_COLUMNS = (
    columns.TOMOGRAM,
    columns.MICROGRAPH,
    *columns.COORDINATES,
    IMAGE,
    WEDGE,
    *columns.ANGLES,
    *columns.ORIGINS,
    OPTICS,
    GROUP,
    columns.HALF_SET,
    columns.CLASS,
    columns.CLASS_NAME,
)
"""What particles.star holds. RELION 3.1 keeps the tomogram's name as an unknown label; newer versions need it."""
ONLY_ALIGNED = (columns.ALIGNMENT_SCORE, columns.ALIGNMENT_KEPT)


class Relion3Format:
    """particles.star (all clusters, RELION's columns), one cluster_NN.star each and unassigned.star (every column)."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the tables and, if the options say so, boxes and wedges; see `Writer`."""
        table, optics = relion3_tables(particles, context)
        clustered = rows_in_clusters(particles)
        if context.options.subtomograms:
            table[IMAGE], table[WEDGE] = _write_images(particles, clustered, optics, context, folder)
            _write_references(particles, table[OPTICS], optics, context, folder)
        lean = table[[name for name in LEAN_COLUMNS if name in table]].copy()
        # Paths are relative to the folder in which RELION is started, which is this one.
        paths = {
            name: _seen_from(record.path, context.final(folder)) for name, record in context.tomograms.items()
        }
        lean[columns.MICROGRAPH] = lean[columns.TOMOGRAM].map(paths).astype(str)
        written = []
        for name, rows in lists_of(particles).items():
            # the list of all particles is for RELION, those of the clusters keep every column
            content = lean if name == "particles" else table
            written.append(_write(folder / f"{name}.star", content, optics, rows))
        unassigned = np.flatnonzero(particles.clusters == columns.UNASSIGNED)
        bare = table.drop(columns=[name for name in (IMAGE, WEDGE, *ONLY_ALIGNED) if name in table])
        written.append(_write(folder / "unassigned.star", bare, optics, unassigned))
        count = sum(len(file.rows) for file in written[1:])
        if count != len(particles):
            raise DataError(f"{count} of {len(particles)} particles were written", file=folder)
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read a table; positions are coordinates less origins; see `Writer`."""
        return read_relion_table(path, context)


def read_relion_table(path: Path, context: ExportContext, pixel_column: str = "") -> ParticleSet:
    """Read particles in voxels of the tomograms from a STAR file in the manner of RELION 3.0 or 3.1.

    Parameters
    ----------
    path
        The STAR file.
    context
        The tomograms, and what the user states about the coordinates.
    pixel_column
        Column with the pixel size of the coordinates, unless stated; without it they are voxels of the tomogram.

    Raises
    ------
    DataError
        If coordinates or tomogram names are missing.
    """
    blocks = read_star(path)
    table = blocks.get("particles", next(iter(blocks.values())))
    names = next((name for name in (columns.TOMOGRAM, columns.MICROGRAPH) if name in table), "")
    missing = [name for name in columns.COORDINATES if name not in table]
    if not names or missing:
        raise DataError(
            f"has no column {missing[0] if missing else columns.TOMOGRAM}",
            file=path,
            remedy="give a STAR file of particles, or state its format",
        )
    tomograms, rows = find_tomograms(path, table[names].astype(str).tolist(), context)
    table = table.iloc[rows].reset_index(drop=True)
    coordinates = numbers_of(path, table, columns.COORDINATES)
    if pixel_column in table and context.conventions.pixel_size is None:
        scale = table[pixel_column].to_numpy(dtype=np.float64) / context.voxel_sizes(tomograms)
        positions = context.in_voxels(coordinates, tomograms, 0) * scale[:, None]
    else:
        positions = context.in_voxels(coordinates, tomograms, 0)
    image_sizes = _image_pixel_sizes(table, blocks.get("optics"))
    if not pixel_column and context.conventions.pixel_size is None:
        _warn_of_pixel_sizes(path, image_sizes, context.voxel_sizes(tomograms))
    poses = [name for name in (*columns.ORIGINS, *columns.ANGLES) if name in table]
    table[poses] = numbers_of(path, table, poses)
    shifts = _shifts(table, image_sizes)
    positions = positions + shifts / context.voxel_sizes(tomograms)[:, None]
    rotations = rotations_of_table(table) if set(columns.ANGLES) <= set(table) else None
    kept = table.drop(columns=[*columns.ORIGINS, IMAGE, WEDGE, OPTICS, GROUP], errors="ignore")
    return particle_set(context, tomograms, positions, rotations, dict(kept))


def _warn_of_pixel_sizes(path: Path, image_sizes: FloatArray, voxel_sizes: FloatArray) -> None:
    """Warn if the subtomograms have other pixels than the tomograms, which can be the pixels of the coordinates."""
    differ = np.abs(image_sizes - voxel_sizes) > 1e-3 * voxel_sizes  # False for NaN
    if differ.any():
        row = int(np.argmax(differ))
        logger.warning(
            "%s: coordinates are taken as voxels of the tomograms, of %g A, though subtomograms have pixels of %g A; "
            "if the coordinates have these pixels, state them as pixel size",
            *(path, voxel_sizes[row], image_sizes[row]),
        )


def _image_pixel_sizes(table: pd.DataFrame, optics: pd.DataFrame | None) -> FloatArray:
    """Return (n,) pixel sizes of the subtomograms, angstrom; NaN if unknown."""
    if optics is not None and {OPTICS, "rlnImagePixelSize"} <= set(optics) and OPTICS in table:
        sizes = optics.set_index(OPTICS)["rlnImagePixelSize"].reindex(table[OPTICS])
        return sizes.to_numpy(dtype=np.float64)
    if "rlnPixelSize" in table:
        return table["rlnPixelSize"].to_numpy(dtype=np.float64)
    return np.full(len(table), np.nan)


def _shifts(table: pd.DataFrame, pixel_sizes: FloatArray) -> FloatArray:
    """Return (n, 3) shifts, angstrom, from origins in angstrom, or in pixels of the subtomograms (RELION 3.0)."""
    pixels = [name.removesuffix("Angst") for name in columns.ORIGINS]
    if columns.ORIGINS[0] not in table and pixels[0] in table:
        shifts = -table[pixels].to_numpy(dtype=np.float64) * pixel_sizes[:, None]
        if np.isnan(shifts).any():
            raise DataError(
                "has shifts in pixels, but no pixel size", remedy="add the column rlnPixelSize to the table"
            )
        return shifts
    return shifts_of_table(table)


def relion3_tables(particles: ParticleSet, context: ExportContext) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all particles with RELION 3.1's columns, and the optics groups.

    There is one optics group per voxel size, and with it per box size.
    """
    sizes = np.round(context.voxel_sizes(particles.tomograms), 4)
    distinct = sorted({round(tomogram.voxel_size, 4) for tomogram in context.tomograms.values()})
    whole, origins = split_positions(particles.positions, sizes)
    angles = relion_angles(particles.rotations) if len(particles) else np.zeros((0, 3))
    table = particles.table.copy()
    for axis in range(3):
        table[columns.COORDINATES[axis]] = whole[:, axis].astype(np.float64)
        table[columns.ANGLES[axis]] = angles[:, axis]
        table[columns.ORIGINS[axis]] = origins[:, axis]
    table[OPTICS] = np.searchsorted(distinct, sizes) + 1
    table[GROUP] = _noise_groups(table[columns.TOMOGRAM])
    microscope = context.microscope
    width = context.options.box_width or context.box_width
    optics = pd.DataFrame(
        {
            OPTICS: np.arange(1, len(distinct) + 1),
            "rlnOpticsGroupName": [f"opticsGroup{i + 1}" for i in range(len(distinct))],
            "rlnVoltage": float(microscope.voltage),
            "rlnSphericalAberration": float(microscope.spherical_aberration),
            "rlnAmplitudeContrast": float(microscope.amplitude_contrast),
            "rlnImagePixelSize": np.array(distinct, dtype=np.float64),
            "rlnImageSize": [even_box_size(width, size) for size in distinct],
            "rlnImageDimensionality": 3,
        }
    )
    return table, optics


def split_positions(positions: FloatArray, voxel_sizes: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Split positions (n, 3) in voxels into whole voxels and RELION's origins (n, 3) in angstrom."""
    whole = np.rint(positions).astype(np.int64)
    return whole, -(positions - whole) * voxel_sizes[:, None]


def _seen_from(path: str, folder: Path) -> str:
    return path if os.path.isabs(path) else os.path.relpath(path, folder)


def _noise_groups(tomograms: pd.Series) -> pd.Series:
    counts = tomograms.map(tomograms.value_counts())
    return tomograms.where(counts >= SMALL_GROUP, "few_particles")


def _write(path: Path, table: pd.DataFrame, optics: pd.DataFrame, rows: NDArray[np.int64]) -> Written:
    """Write the rows with the optics groups they use, counted from 1."""
    part = table.iloc[rows].copy()
    groups, part[OPTICS] = np.unique(part[OPTICS], return_inverse=True)
    part[OPTICS] += 1
    used = optics[optics[OPTICS].isin(groups)].copy()
    used[OPTICS] = np.arange(1, len(used) + 1)
    write_particles(path, part, used)
    return Written(path, rows)


def _write_images(
    particles: ParticleSet,
    rows: NDArray[np.int64],
    optics: pd.DataFrame,
    context: ExportContext,
    folder: Path,
) -> tuple[list[str], list[str]]:
    """Write boxes of the particles `rows` and the wedges; return their names for all particles."""
    from cryopipe.volume.wedge import centred_wedge  # loads torch, which lists of particles do without

    images, wedges = ["None"] * len(particles), ["None"] * len(particles)
    whole = np.rint(particles.positions).astype(np.int64)
    box_sizes = dict(zip(optics["rlnImagePixelSize"], optics["rlnImageSize"], strict=True))
    names = np.array(particles.tomograms, dtype=object)[rows]
    for tomogram in dict.fromkeys(names):
        record = context.tomograms[tomogram]
        box_size = int(box_sizes[round(record.voxel_size, 4)])
        wedge = f"wedges/{_wedge_name(record.tilts, box_size)}"
        write_volume(
            folder / wedge, centred_wedge(box_size, record.tilts).numpy(), round(record.voxel_size, 4)
        )
        mine = rows[names == tomogram]
        boxes = cut_boxes(open_volume(record.path), whole[mine], box_size, record.contrast, context.seed)
        watched = progress(boxes, len(mine), "boxes", f"exporting subtomograms of {tomogram}")
        for number, (row, box) in enumerate(zip(mine, watched, strict=True), 1):
            images[row], wedges[row] = f"subtomograms/{tomogram}/{number:06d}.mrc", wedge
            write_volume(folder / images[row], box, round(record.voxel_size, 4))
    return images, wedges


def _write_references(
    particles: ParticleSet, groups: pd.Series, optics: pd.DataFrame, context: ExportContext, folder: Path
) -> None:
    """Write every cluster's average in the box of the optics group that most of its particles are in."""
    import torch  # which lists of particles do without

    from cryopipe.volume.fourier import fourier_rescale

    by_group = optics.set_index(OPTICS)
    for cluster, average in context.averages.items():
        mine = groups[particles.clusters == cluster]
        if len(mine):
            group = by_group.loc[mine.mode().iloc[0]]
            pixel_size, box_size = float(group["rlnImagePixelSize"]), int(group["rlnImageSize"])
            volume = torch.from_numpy(np.asarray(average.volume, dtype=np.float32))
            scaled = fourier_rescale(volume, average.voxel_size, pixel_size, box_size)
            write_volume(folder / "references" / f"{cluster_name(cluster)}.mrc", scaled.numpy(), pixel_size)


def _wedge_name(tilts: tuple[float, ...], box_size: int) -> str:
    axis = "_about_x" if len(tilts) > 2 else ""
    return f"wedge_{tilts[0]:+g}_{tilts[1]:+g}{axis}_box{box_size}.mrc"
