"""Alignment of the particles of a table, with boxes read from stacks."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.averaging.alignment import AlignmentResult, align_cluster
from cryopipe.averaging.half_sets import neighbourhoods
from cryopipe.averaging.options import MASK_MARGIN, AveragingOptions
from cryopipe.averaging.particle_table import particle_table
from cryopipe.files.box_stacks import BoxStack
from cryopipe.particles import boxes_of_particles, centred_boxes_of_particles, positions_of_table

logger = logging.getLogger(__name__)

LOCATION_ROUNDS = 3
"""Largest number of refinement rounds of the first alignment: positions need no fine detail."""


def align_particles(
    boxes: BoxStack,
    particles: pd.DataFrame,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
    centred: bool = False,
) -> tuple[AlignmentResult, pd.DataFrame]:
    """Align the particles of a table without a reference and average them.

    Particles whose masks overlap are in the same half-set, so that no particle that was picked twice is in both; see
    `neighbourhoods`.

    Parameters
    ----------
    boxes
        Boxes of these particles and of others, particles bright.
    particles
        One cluster's n rows, with names, tomograms, coordinates and diameters, and with origins (angstrom) if learning
        has centred them. With `CTF_LIMIT`, nothing finer than its largest value is used or reported.
    options, seed, device
        As for `align_cluster`.
    centred
        Whether the boxes were cut at the particles' positions, origins included. Otherwise they were cut at the
        coordinates, and are shifted by the origins rounded to whole voxels.

    Returns
    -------
    The alignment, and the particles with angles (degrees), origins (angstrom, those of the input included),
    half-sets and scores. Without particles the average is empty.

    Raises
    ------
    DataError
        If a particle has no box.
    """
    if not len(particles):
        return _nothing_aligned(boxes, particles)
    find_boxes = centred_boxes_of_particles if centred else boxes_of_particles
    chosen, shifts = find_boxes(boxes, particles)
    diameter = options.mask_diameter or MASK_MARGIN * _diameter(particles)
    # Beyond the first zero, particles of different defocus have opposite signs.
    finest = max(options.finest_resolution, ctf_limit(particles))
    options = replace(options, mask_diameter=diameter, finest_resolution=finest)
    tomograms = particles[columns.TOMOGRAM].astype(str).tolist()
    groups = neighbourhoods(positions_of_table(particles), tomograms, diameter)
    result = align_cluster(chosen, chosen.tilt_ranges, boxes.voxel_size, options, seed, device, groups)
    return result, particle_table(particles, result, shifts)


def locate_particles(
    boxes: BoxStack,
    particles: pd.DataFrame,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
) -> pd.DataFrame:
    """Find where the particles of a cluster are: the centre of mass of their average, in every particle.

    Parameters
    ----------
    boxes, particles, options, seed, device
        As for `align_particles`; at most `LOCATION_ROUNDS` rounds of refinement are used.

    Returns
    -------
    The particles as from `align_particles`, with the column `EXTENT`: the extent of the average's density, or the
    diameter of the picks where the average shows no particle.
    """
    options = replace(options, refinement_iterations=min(options.refinement_iterations, LOCATION_ROUNDS))
    result, table = align_particles(boxes, particles, options, seed, device)
    if not math.isfinite(result.extent):
        return table.assign(**{columns.EXTENT: table[columns.DIAMETER]})
    moved = np.linalg.norm(positions_of_table(table) - positions_of_table(particles), axis=1)
    logger.info(
        "extent of the particle %.0f A; centres are a median of %.0f A from the picks",
        result.extent,
        np.median(moved),
    )
    return table.assign(**{columns.EXTENT: result.extent})


def ctf_limit(particles: pd.DataFrame) -> float:
    """Return the first zero, angstrom, beyond which the particles' uncorrected phases are of no use; 0 for no limit."""
    known = columns.CTF_LIMIT in particles and len(particles)
    return float(particles[columns.CTF_LIMIT].max()) if known else 0.0


def _diameter(particles: pd.DataFrame) -> float:
    """Return the diameter of the picks, or the extent of the particles where it is larger."""
    names = [name for name in (columns.DIAMETER, columns.EXTENT) if name in particles]
    return float(particles[names].median().max())


def _nothing_aligned(boxes: BoxStack, particles: pd.DataFrame) -> tuple[AlignmentResult, pd.DataFrame]:
    """Return the empty average of a cluster whose particles are all doubles of others."""
    logger.warning("the cluster has no particles: its average is empty")
    nothing = np.zeros((boxes.box_size,) * 3, np.float32)
    result = AlignmentResult(
        Rotation.from_quat(np.zeros((0, 4))), np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.intp),
        nothing, (nothing, nothing), nothing, None, math.inf, math.inf, boxes.voxel_size,
    )  # fmt: skip
    return result, particle_table(particles, result)
