"""Boxes of decoys, cut like those of particles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.box_extraction import append_boxes, ctf_treatment
from cryopipe.evidence.options import FEWEST_OF_ALL, EvidenceOptions
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.opening import OpenTomogram
from cryopipe.particles import pick_table
from cryopipe.phase_flipping import margin
from cryopipe.picking.decoys import RANDOM, DecoySet, pick_decoys
from cryopipe.picking.options import PickOptions
from cryopipe.picking.pick import Picks
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram


def decoys_of_tomogram(
    tomogram: Tomogram,
    opened: OpenTomogram | None,
    particles: pd.DataFrame,
    picking: PickOptions,
    options: EvidenceOptions,
    seed: int,
    device: torch.device | str = "cpu",
    fewest: int = FEWEST_OF_ALL,
) -> list[DecoySet]:
    """Pick the decoys of a tomogram of the table.

    Parameters
    ----------
    tomogram, opened
        A row of the tomogram table and its volume; None if it cannot be used, which gives no decoys.
    particles
        Its particles, with pick scores unless they were made elsewhere.
    picking, options
        How particles were picked, and how many decoys there are.
    seed, device
        As for `pick_decoys`.
    fewest
        Fewest decoys, whatever the number of particles; see `fewest_decoys`.
    """
    if opened is None or not len(particles):
        return []
    wanted = max(round(options.decoy_fraction * len(particles)), fewest)
    count = min(options.decoys_per_tomogram, wanted)
    nothing = np.full(len(particles), np.nan)
    scores = particles[columns.PICK_SCORE].to_numpy(float) if columns.PICK_SCORE in particles else nothing
    picks = Picks(
        particles[list(columns.COORDINATES)].to_numpy(float),
        scores,
        particles[columns.DIAMETER].to_numpy(float),
    )
    return pick_decoys(
        opened.volume, opened.voxel_size, picking, tomogram.contrast, picks, count, seed, opened.mask,
        device=device, name=tomogram.name,
    )  # fmt: skip


def write_decoys(
    paths: tuple[str | os.PathLike[str], str | os.PathLike[str]],
    tomogram: Tomogram,
    voxel_size: float,
    sets: Sequence[DecoySet],
    options: tuple[SubtomogramOptions, SubtomogramOptions],
    ctf: str,
    microscope: Mapping[str, float],
    seed: int,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Cut the boxes of decoys for embedding and for averaging.

    Parameters
    ----------
    paths
        The HDF5 files of the boxes for embedding and for averaging.
    tomogram
        Row of the tomogram table.
    voxel_size
        Of the tomogram, angstrom.
    sets
        From `decoys_of_tomogram`.
    options
        Of the boxes for embedding and for averaging.
    ctf, microscope
        As for `cryopipe.box_extraction.extract_for_averaging`.
    seed
        Of the noise at borders.
    device
        Device of the rescaling.

    Returns
    -------
    The decoys with boxes, named TOMOGRAM/decoy_NUMBER, with the columns `DECOY` and `CTF_LIMIT`. Each volume with random
    phases counts as a tomogram of its own: coordinates in it are not places in the tomogram.
    """
    flip, limit = ctf_treatment(tomogram, ctf, microscope)
    tables = _tables(tomogram, voxel_size, sets)
    kept = []
    for path, chosen, optics in zip(paths, options, (None, flip), strict=True):
        with BoxWriter(path, chosen.box_size, chosen.voxel_size, tomogram.tilts, tomogram.name) as writer:
            for number, (one, table) in enumerate(zip(sets, tables, strict=True)):
                wide = 0 if optics is None else margin(chosen.box_size, chosen.voxel_size, optics)
                volume, places = _padded(one, (chosen.box_size + 2 * wide) * chosen.voxel_size / voxel_size)
                names = table[columns.PARTICLE].tolist()
                rows = append_boxes(
                    writer, volume, places, names, voxel_size, chosen, one.contrast, seed + number, device, optics,
                    f"decoys of {tomogram.name}",
                )  # fmt: skip
                if path == paths[0]:
                    kept.append(table.iloc[rows])
    nothing = pick_table(tomogram.name, tomogram.path, np.zeros((0, 3)), voxel_size, np.zeros(0), np.zeros(0))
    found = pd.concat(kept, ignore_index=True) if kept else nothing.assign(**{columns.DECOY: ""})
    return found.assign(**{columns.CTF_LIMIT: limit})


def _tables(tomogram: Tomogram, voxel_size: float, sets: Sequence[DecoySet]) -> list[pd.DataFrame]:
    tables, first, blocks = [], 1, 0
    for one in sets:
        picks = one.picks
        found = (picks.coordinates, voxel_size, picks.scores, picks.diameters)
        table = pick_table(tomogram.name, tomogram.path, *found)
        table[columns.PARTICLE] = [f"{tomogram.name}/decoy_{first + number}" for number in range(len(table))]
        table[columns.DECOY] = one.origin
        if one.origin == RANDOM:
            blocks += 1
            table[columns.TOMOGRAM] = f"{tomogram.name}-{blocks}"
        first += len(table)
        tables.append(table)
    return tables


def _padded(one: DecoySet, width: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the volume with its periodic continuation wide enough for boxes of a width in voxels, and the places in it."""
    if not any(one.periodic):
        return one.volume, one.picks.coordinates
    # a block smaller than its boxes is continued once at most
    pads = [
        min(n, int(width / 2) + 8) if wide else 0
        for n, wide in zip(one.volume.shape, one.periodic, strict=True)
    ]
    volume = np.pad(one.volume, [(pad, pad) for pad in pads], mode="wrap")
    return volume, one.picks.coordinates + np.array(pads[::-1], float)
