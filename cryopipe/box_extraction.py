"""Boxes of one tomogram's particles, from its file into a stack of boxes."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import torch

from cryopipe.columns import COORDINATES, ORIGINS, PARTICLE
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.opening import open_tomogram
from cryopipe.particles import pose_columns, shifts_of_table
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.tomograms import Tomogram


def write_subtomograms(
    path: str | os.PathLike[str],
    tomogram: Tomogram,
    particles: pd.DataFrame,
    options: SubtomogramOptions,
    seed: int,
    device: torch.device | str = "cpu",
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
            for indices, boxes in extract_subtomograms(
                opened.volume,
                coordinates,
                opened.voxel_size,
                options,
                tomogram.contrast,
                np.random.default_rng(seed),
                device=device,
                name=tomogram.name,
            ):
                writer.append(boxes, particles[PARTICLE].iloc[indices].tolist())
                kept.extend(indices.tolist())
    return particles.iloc[kept]
