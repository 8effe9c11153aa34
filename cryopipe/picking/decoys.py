"""Decoys: picks where no particle can be, in the tomogram with inverted contrast and in blocks with random phases.

The same filters, thresholds and distances are used as for the particles, and scores are measured in the same units. A pick of
noise in the tomogram and a decoy differ only in that a decoy is certainly no particle. Decoys are drawn at random from all
that reach the lowest score of the particles, so that they have the scores of picked noise, not those of particles.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.picking.candidates import Search
from cryopipe.picking.false_picks import LOWEST, Picked, randomised_blocks
from cryopipe.picking.maxima import Maxima
from cryopipe.picking.options import PickOptions
from cryopipe.picking.peaks import robust_statistics, upper_deviation
from cryopipe.picking.pick import Picks
from cryopipe.picking.sampling import sample_voxels
from cryopipe.picking.source import Source
from cryopipe.volume.padding import Region, find_padding

logger = logging.getLogger(__name__)

MOST_BLOCKS = 6
"""Most blocks with random phases in which decoys are picked."""
FRINGE = 0.8
"""Inverted picks within this fraction of its diameter from a certain particle are its fringes."""
CERTAIN = 1.25
"""Particles with this many times the highest score in random phases are certain."""
INVERTED, RANDOM = "inverted contrast", "random phases"


@dataclass(frozen=True)
class DecoySet:
    """Decoys of one volume.

    Attributes
    ----------
    volume
        (z, y, x) in which their boxes are cut.
    contrast
        Contrast of the decoys in it, "dark" or "bright".
    origin
        How they were made, `INVERTED` or `RANDOM`.
    periodic
        Axes z, y, x along which the volume is periodic and smaller than the tomogram: nothing is missing at its faces.
    picks
        Coordinates in voxels of the volume, scores, and diameters in angstrom.
    """

    volume: NDArray[Any]
    contrast: str
    origin: str
    periodic: tuple[bool, bool, bool]
    picks: Picks


def pick_decoys(
    volume: NDArray[Any],
    voxel_size: float,
    options: PickOptions,
    contrast: str,
    particles: Picks,
    count: int,
    seed: int,
    mask: NDArray[Any] | None = None,
    *,
    device: torch.device | str = "cpu",
    chunk_voxels: int = 2**24,
    name: str = "a tomogram",
) -> list[DecoySet]:
    """Pick decoys of a tomogram, half of them in inverted contrast and half in random phases if there are enough.

    Parameters
    ----------
    volume, voxel_size, options, contrast, mask, device, chunk_voxels, name
        As for `pick_particles`.
    particles
        The picks of the tomogram. Scores of NaN are those of particles made elsewhere.
    count
        Wanted number of decoys.
    seed
        Seed of the random phases and of the choice.

    Returns
    -------
    One set per volume that has decoys; with few candidates, fewer decoys than wanted.
    """
    region = Region(volume.shape, find_padding(volume), mask)
    voxels = sample_voxels(volume, region, name)
    median, sigma = robust_statistics(voxels)
    if sigma == 0 or not len(particles) or count < 1:
        return []
    limit = math.inf if options.clip is None else options.clip * upper_deviation(voxels, median)
    source = Source(
        volume, median, limit, 1 if contrast == "bright" else -1, torch.device(device), region, name
    )
    search = Search(options.diameters, voxel_size, options.minimum_distance, options.border, chunk_voxels)
    known = particles.scores[np.isfinite(particles.scores)]
    lowest = max(LOWEST, float(known.min())) if len(known) else LOWEST
    found = search.find(source, lowest)
    rng = np.random.default_rng(seed)
    # without fringes of particles: the highest score in random phases tells which particles are certain
    blocks = _random_sets(
        source, search, found, _certain(particles, math.inf, voxel_size), lowest, count // 2, rng
    )
    highest = max((one.picks.scores.max() for one in blocks), default=lowest)
    certain = _certain(particles, CERTAIN * highest, voxel_size)
    if len(certain.positions):
        blocks = _random_sets(source, search, found, certain, lowest, count // 2, rng)
    mirrored = _inverted_set(source, search, found, certain, lowest)
    sets = [*([mirrored] if len(mirrored.picks) else []), *blocks]
    chosen = _drawn(sets, count, rng)
    logger.info(
        "%s: %d decoys (%s), scores from %.2f",
        *(name, sum(len(one.picks) for one in chosen)),
        ", ".join(f"{len(one.picks)} {one.origin}" for one in chosen) or "none",
        lowest,
    )
    return chosen


def _certain(particles: Picks, score: float, voxel_size: float) -> Picked:
    """Return the particles above a score; all of them if scores are unknown, as for particles made elsewhere."""
    unknown = not np.isfinite(particles.scores).any()
    kept = np.ones(len(particles), bool) if unknown else particles.scores > score
    return Picked(particles.coordinates[kept, ::-1], particles.diameters[kept] / voxel_size)


def _inverted_set(
    source: Source, search: Search, found: Sequence[Maxima], certain: Picked, lowest: float
) -> DecoySet:
    inverted = replace(source, sign=-source.sign, name=f"{source.name}, inverted contrast")
    maxima = search.find(inverted, lowest, [replace(one, median=-one.median) for one in found])
    outside = [one.select(~certain.near(one.positions, FRINGE)) for one in maxima]
    contrast = "dark" if source.sign == 1 else "bright"
    return DecoySet(
        source.volume, contrast, INVERTED, (False, False, False), _picks(search.choose(outside, lowest))
    )


def _random_sets(
    source: Source,
    search: Search,
    found: Sequence[Maxima],
    certain: Picked,
    lowest: float,
    count: int,
    rng: np.random.Generator,
) -> list[DecoySet]:
    """Return decoys of as many blocks as give `count` of them."""
    sets: list[DecoySet] = []
    for block in randomised_blocks(source, certain, rng, MOST_BLOCKS):
        picks = _picks(search.choose(search.find(block, lowest, found), lowest))
        if len(picks):
            smaller = [bool(a < b) for a, b in zip(block.volume.shape, source.volume.shape, strict=True)]
            sets.append(DecoySet(block.volume, "bright", RANDOM, (smaller[0], smaller[1], smaller[2]), picks))
        if sum(len(one.picks) for one in sets) >= count:
            break
    return sets


def _picks(chosen: tuple[NDArray[np.float64], ...]) -> Picks:
    positions, scores, diameters = chosen
    return Picks(positions[:, ::-1].copy(), scores, diameters)


def _drawn(sets: Sequence[DecoySet], count: int, rng: np.random.Generator) -> list[DecoySet]:
    """Draw `count` decoys at random, as nearly as possible half of them in inverted contrast."""
    inverted = [np.full(len(one.picks), one.origin == INVERTED) for one in sets]
    origins = np.concatenate([np.zeros(0, bool), *inverted])
    order = rng.permutation(len(origins))
    mirrored, random = order[origins[order]], order[~origins[order]]
    half = max(count - count // 2, count - len(random))
    mirrored = mirrored[:half]
    kept = np.zeros(len(origins), bool)
    kept[np.concatenate([mirrored, random[: count - len(mirrored)]])] = True
    drawn, first = [], 0
    for one in sets:
        mine = kept[first : first + len(one.picks)]
        first += len(one.picks)
        if mine.any():
            picks = Picks(one.picks.coordinates[mine], one.picks.scores[mine], one.picks.diameters[mine])
            drawn.append(replace(one, picks=picks))
    return drawn
