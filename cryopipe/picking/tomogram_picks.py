"""Particle table of the picks of one tomogram."""

from __future__ import annotations

import logging

import pandas as pd
import torch

from cryopipe.files.opening import OpenTomogram
from cryopipe.particles import pick_table
from cryopipe.picking.options import PickOptions
from cryopipe.picking.pick import Picks, pick_particles
from cryopipe.tomograms import Tomogram

logger = logging.getLogger(__name__)


def pick_tomogram(
    tomogram: Tomogram,
    opened: OpenTomogram | None,
    options: PickOptions,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Pick the particles of a tomogram of the table.

    Parameters
    ----------
    tomogram
        A row of the tomogram table.
    opened
        Its volume, voxel size and mask; None if it cannot be used, which gives no particles.
    options
        Diameters, threshold and limits.
    device
        Device of the filters.

    Returns
    -------
    One row per particle, best first; see `cryopipe.particles.pick_table`.

    Raises
    ------
    DataError
        As `cryopipe.picking.pick_particles`.
    """
    if opened is None:
        picks, voxel_size = Picks.none(), tomogram.voxel_size or 0.0
    else:
        voxel_size, contrast, mask = opened.voxel_size, tomogram.contrast, opened.mask
        picks = pick_particles(
            opened.volume, voxel_size, options, contrast, mask, device=device, name=tomogram.name
        )
    found = (picks.coordinates, voxel_size, picks.scores, picks.diameters)
    return pick_table(tomogram.name, tomogram.path, *found)


def given_picks(given: pd.DataFrame, tomogram: str, source: str) -> pd.DataFrame:
    """Return the picks of a tomogram among particles made elsewhere; none is a state that is reported.

    Parameters
    ----------
    given
        Particles of the tomogram; see `cryopipe.export.given_particles.read_given_particles`.
    tomogram
        Its name.
    source
        The user's file, for the message.
    """
    if len(given):
        logger.info("%s: %d particles given by %s", tomogram, len(given), source)
    else:
        logger.warning("%s: %s has no particles of this tomogram", tomogram, source)
    return given
