"""Export to RELION 3.1: particle tables with optics groups and, on request, subtomograms with wedge volumes.

Coordinates are whole 0-based voxels of the tomogram, the voxel at `box size // 2` of the box; the origins contain the
remainder, because RELION's own extraction truncates coordinates. RELION >= 4 reads the same files for 3D subtomograms.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.particle_set import FloatArray, ParticlePoses, ParticleSet
from cryopipe.export.relion_boxes import cut_boxes, even_box_size
from cryopipe.export.writer import ExportContext, Written, rows_in_clusters
from cryopipe.files.cluster_averages import cluster_name
from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.star import read_star, write_particles
from cryopipe.particles import poses_of_table
from cryopipe.progress import progress
from cryopipe.volume.fourier import fourier_rescale
from cryopipe.volume.geometry import relion_angles
from cryopipe.volume.wedge import centred_wedge

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


class Relion3Writer:
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
        written = [_write(folder / "particles.star", lean, optics, clustered)]
        for cluster in np.unique(particles.clusters[clustered]):
            rows = np.flatnonzero(particles.clusters == cluster)
            written.append(_write(folder / f"{cluster_name(cluster)}.star", table, optics, rows))
        unassigned = np.flatnonzero(particles.clusters == columns.UNASSIGNED)
        bare = table.drop(columns=[name for name in (IMAGE, WEDGE, *ONLY_ALIGNED) if name in table])
        written.append(_write(folder / "unassigned.star", bare, optics, unassigned))
        count = sum(len(file.rows) for file in written[1:])
        if count != len(particles):
            raise DataError(f"{count} of {len(particles)} particles were written", file=folder)
        return written

    def read(self, path: Path, context: ExportContext) -> ParticlePoses:
        """Read a table back; positions are coordinates less origins by the optics groups' pixel sizes."""
        blocks = read_star(path)
        table, optics = blocks["particles"], blocks["optics"]
        pixel_sizes = optics.set_index(OPTICS)["rlnImagePixelSize"].reindex(table[OPTICS])
        table = table.assign(**{columns.VOXEL_SIZE: pixel_sizes.to_numpy(dtype=np.float64)})
        positions, rotations = poses_of_table(table)
        return ParticlePoses(table[columns.TOMOGRAM].tolist(), positions, rotations)


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
