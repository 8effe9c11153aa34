"""Rescan of one tomogram of the table: search with the recognised averages, and merging with its picks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from cryopipe.averaging.verdicts import MIXTURE, PARTICLE
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.opening import OpenTomogram
from cryopipe.picking.pick import make_source
from cryopipe.rescan.merge import merge_rounds
from cryopipe.rescan.options import RescanOptions
from cryopipe.rescan.scan import Search, best_of
from cryopipe.rescan.search_template import make_search_template
from cryopipe.tomograms import Tomogram

logger = logging.getLogger(__name__)

SEARCHED = (PARTICLE, MIXTURE)
"""Verdicts of the clusters whose averages search the tomograms."""


def averages_of_particles(
    averages: Mapping[int, ClusterAverage], verdicts: pd.DataFrame
) -> dict[int, ClusterAverage]:
    """Return the averages that are particles by their verdict.

    Parameters
    ----------
    averages
        By cluster number.
    verdicts
        From `cryopipe.averaging.verdicts.describe_clusters`.
    """
    chosen = set(verdicts.loc[verdicts["verdict"].isin(SEARCHED), "cluster"].astype(int))
    return {number: average for number, average in averages.items() if number in chosen}


def rescan_tomogram(
    tomogram: Tomogram,
    opened: OpenTomogram | None,
    averages: Mapping[int, ClusterAverage],
    picks: pd.DataFrame,
    located: pd.DataFrame,
    options: RescanOptions,
    *,
    clip: float | None = 4.0,
    memory_gb: float = 4.0,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
) -> pd.DataFrame:
    """Search a tomogram with averages and return its picks of the next round.

    Parameters
    ----------
    tomogram
        A row of the tomogram table.
    opened
        Its volume, voxel size and mask; None if it cannot be used, which leaves its picks as they are.
    averages
        By cluster number; see `averages_of_particles`.
    picks, located
        Of this tomogram in the round before; see `merge_rounds`.
    options
        Expected false picks and resolution.
    clip
        See `PickOptions`.
    memory_gb
        Memory for arrays, gigabytes.
    device
        Device of the search.
    checkpoint
        File from which an interrupted search resumes.

    Returns
    -------
    See `merge_rounds`.

    Raises
    ------
    DataError
        If the mask has another shape, or the tomogram contains NaN, infinite values or values above 1e12.
    """
    source = None
    if opened is not None:
        source = make_source(opened.volume, clip, tomogram.contrast, opened.mask, device, tomogram.name)
    if source is None or opened is None:
        voxel_size = (tomogram.voxel_size or 1.0) if opened is None else opened.voxel_size
        return merge_rounds(picks, located, best_of([], voxel_size), tomogram, voxel_size)
    made = [
        make_search_template(number, average, opened.voxel_size, options.resolution)
        for number, average in averages.items()
    ]
    templates = [one for one in made if one is not None]
    if not templates:
        logger.warning("%s: no average is recognised as a particle: no search", tomogram.name)
    search = Search(source, opened.voxel_size, tomogram.tilts, options.false_picks, memory_gb, checkpoint)
    return merge_rounds(picks, located, search.run(templates), tomogram, opened.voxel_size)
