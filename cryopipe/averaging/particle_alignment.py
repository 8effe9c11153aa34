"""Alignment of the particles of a table, with boxes read from stacks."""

from __future__ import annotations

import pandas as pd
import torch

from cryopipe import columns
from cryopipe.averaging.alignment import AlignmentResult, align_cluster
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.particle_table import particle_table
from cryopipe.files.box_stacks import BoxStack
from cryopipe.particles import boxes_of_particles


def align_particles(
    boxes: BoxStack,
    particles: pd.DataFrame,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
) -> tuple[AlignmentResult, pd.DataFrame]:
    """Align the particles of a table without a reference and average them.

    Boxes are first shifted by the table's origins, rounded to whole voxels.

    Parameters
    ----------
    boxes
        Boxes of these particles and of others, particles bright.
    particles
        One cluster's n rows, with names and diameters, and with origins (angstrom) if learning has centred them.
    options, seed, device
        As for `align_cluster`.

    Returns
    -------
    The alignment, and the particles with angles (degrees), origins (angstrom, those of the input included),
    half-sets and scores.

    Raises
    ------
    DataError
        If a particle has no box.
    """
    chosen, shifts = boxes_of_particles(boxes, particles)
    result = align_cluster(
        chosen,
        chosen.tilt_ranges,
        boxes.voxel_size,
        options.for_particles(particles[columns.DIAMETER].median()),
        seed,
        device,
    )
    return result, particle_table(particles, result, shifts)
