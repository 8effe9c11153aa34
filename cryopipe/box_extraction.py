"""Boxes of one tomogram's particles, from its file into a stack of boxes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe.columns import COORDINATES, CTF_LIMIT, ORIGINS, PARTICLE
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.opening import open_tomogram
from cryopipe.particles import pose_columns, shifts_of_table
from cryopipe.phase_flipping import first_zero, flip_phases, margin
from cryopipe.simulation.optics import Optics
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.tomograms import Tomogram

logger = logging.getLogger(__name__)


def write_subtomograms(
    path: str | os.PathLike[str],
    tomogram: Tomogram,
    particles: pd.DataFrame,
    options: SubtomogramOptions,
    seed: int,
    device: torch.device | str = "cpu",
    flip: Optics | None = None,
) -> pd.DataFrame:
    """Extract the boxes of one tomogram's particles and write them to a file that `BoxStack` reads.

    Parameters
    ----------
    path
        The HDF5 file; written whole or not at all.
    tomogram
        Row of the tomogram table; its file is not opened if there are no particles.
    particles
        Particles of this tomogram with names and coordinates. With origins the boxes are cut at the positions that they
        give, exactly; a position outside the tomogram is first moved to the nearest one inside.
    options
        Size of the boxes and their treatment at the border.
    seed
        Of the noise at borders.
    device
        Device of the rescaling.
    flip
        Microscope and defocus of which the phases are corrected; None leaves them.

    Returns
    -------
    The particles that have a box, in the order of the boxes; their origins, if present, are those of the boxes.

    Raises
    ------
    FileError
        If a file cannot be read or written.
    DataError
        If a coordinate is outside the tomogram, or a box contains NaN, infinite values or values above 1e12.
    """
    kept: list[int] = []
    with BoxWriter(path, options.box_size, options.voxel_size, tomogram.tilts, tomogram.name) as writer:
        if len(particles):
            opened = open_tomogram(tomogram)
            coordinates = particles[list(COORDINATES)].to_numpy(dtype=float)
            if ORIGINS[0] in particles:
                picked = coordinates
                coordinates = picked + shifts_of_table(particles) / opened.voxel_size
                coordinates = np.clip(coordinates, 0, np.array(opened.volume.shape[::-1]) - 1)
                shifts = (coordinates - picked) * opened.voxel_size
                particles = particles.assign(**pose_columns(None, shifts))
            kept = append_boxes(
                writer, opened.volume, coordinates, particles[PARTICLE].tolist(), opened.voxel_size, options,
                tomogram.contrast, seed, device, flip, tomogram.name,
            )  # fmt: skip
    return particles.iloc[kept]


def append_boxes(
    writer: BoxWriter,
    volume: NDArray[Any],
    coordinates: NDArray[np.float64],
    names: Sequence[str],
    voxel_size: float,
    options: SubtomogramOptions,
    contrast: str,
    seed: int,
    device: torch.device | str = "cpu",
    flip: Optics | None = None,
    name: str = "a tomogram",
) -> list[int]:
    """Extract boxes of a volume and append them to a file.

    Parameters
    ----------
    writer
        The open file.
    volume, coordinates, voxel_size, options, contrast, device, name
        As for `extract_subtomograms`.
    names
        (n,) names of the particles.
    seed, flip
        As for `write_subtomograms`.

    Returns
    -------
    Indices of the particles that have a box, in the order of the boxes.
    """
    wide = 0 if flip is None else margin(options.box_size, options.voxel_size, flip)
    cut = replace(options, box_size=options.box_size + 2 * wide)
    random, kept = np.random.default_rng(seed), []
    for indices, boxes in extract_subtomograms(
        volume, coordinates, voxel_size, cut, contrast, random, device=device, name=name
    ):
        if flip is not None:
            boxes = _flipped(boxes, options.voxel_size, flip, wide)
        writer.append(boxes, [names[index] for index in indices])
        kept.extend(indices.tolist())
    return kept


def _flipped(boxes: NDArray[np.float32], voxel_size: float, optics: Optics, wide: int) -> NDArray[np.float32]:
    """Return the boxes with corrected phases, without a margin, of mean 0 and standard deviation 1."""
    inner = slice(wide, boxes.shape[-1] - wide)
    boxes = flip_phases(boxes, voxel_size, optics)[:, inner, inner, inner]
    boxes = boxes - boxes.mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray(boxes / boxes.std(axis=(1, 2, 3), keepdims=True).clip(min=1e-12), np.float32)


def optics_of_tomogram(tomogram: Tomogram, microscope: Mapping[str, float]) -> Optics | None:
    """Return microscope and defocus of a tomogram; None if its defocus is not known."""
    return None if tomogram.defocus is None else Optics(**microscope, defocus=tomogram.defocus)


def extract_for_averaging(
    path: str | os.PathLike[str],
    tomogram: Tomogram,
    particles: pd.DataFrame,
    options: SubtomogramOptions,
    ctf: str,
    microscope: Mapping[str, float],
    seed: int,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Extract the boxes to average of one tomogram's particles, and correct or note its contrast transfer function.

    Parameters
    ----------
    path, tomogram, particles, options, seed, device
        As for `write_subtomograms`.
    ctf
        As the option `averaging.ctf`.
    microscope
        Voltage (kV), spherical_aberration (mm) and amplitude_contrast.

    Returns
    -------
    As from `write_subtomograms`, with the column `CTF_LIMIT`.
    """
    flip, limit = ctf_treatment(tomogram, ctf, microscope)
    cut = write_subtomograms(path, tomogram, particles, options, seed, device, flip)
    return cut.assign(**{CTF_LIMIT: limit})


def ctf_treatment(
    tomogram: Tomogram, ctf: str, microscope: Mapping[str, float]
) -> tuple[Optics | None, float]:
    """Return the optics of which phases are corrected, if they are, and the finest resolution used (angstrom, 0 for any).

    Parameters
    ----------
    tomogram, ctf, microscope
        As for `extract_for_averaging`.
    """
    optics, limit = optics_of_tomogram(tomogram, microscope), 0.0
    if optics is None:
        logger.info("%s: no defocus in the tomogram table: taken as corrected for the CTF", tomogram.name)
    elif ctf == "limit":
        limit = first_zero(optics)
        logger.warning(
            "%s: CTF not corrected: nothing finer than its first zero, %.1f A, is used; set averaging.ctf to flip, or to "
            "corrected if the tomogram is",
            *(tomogram.name, limit),
        )
    return (optics if ctf == "flip" else None), limit
