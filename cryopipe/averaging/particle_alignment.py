"""Alignment of the particles of a table, with boxes read from stacks."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch

from cryopipe import columns
from cryopipe.averaging.alignment import AlignmentResult, align_cluster
from cryopipe.averaging.half_sets import neighbourhoods
from cryopipe.averaging.options import MASK_MARGIN, AveragingOptions
from cryopipe.averaging.particle_table import particle_table
from cryopipe.files.box_stacks import BoxStack
from cryopipe.particles import boxes_of_particles, positions_of_table


def align_particles(
    boxes: BoxStack,
    particles: pd.DataFrame,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
) -> tuple[AlignmentResult, pd.DataFrame]:
    """Align the particles of a table without a reference and average them.

    Boxes are first shifted by the table's origins, rounded to whole voxels. Particles whose masks overlap are in the same
    half-set, so that no particle that was picked twice is in both; see `neighbourhoods`.

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
    diameter = options.mask_diameter or MASK_MARGIN * float(particles[columns.DIAMETER].median())
    options = replace(options, mask_diameter=diameter)
    tomograms = particles[columns.TOMOGRAM].astype(str).tolist()
    groups = neighbourhoods(positions_of_table(particles), tomograms, diameter)
    result = align_cluster(chosen, chosen.tilt_ranges, boxes.voxel_size, options, seed, device, groups)
    return result, particle_table(particles, result, shifts)
