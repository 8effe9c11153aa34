"""Decoys: picks where no particle can be, in the tomogram with inverted contrast and in blocks with random phases.

The same filters, thresholds and distances are used as for the particles, and scores are measured in the same units. A pick of
noise in the tomogram and a decoy differ only in that a decoy is certainly no particle. Decoys are drawn at random from all
that reach the lowest score of the particles, so that they have the scores of picked noise, not those of particles. If too few
reach it, the highest scores are taken.
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

USUAL_BLOCKS, MOST_BLOCKS = 6, 24
"""Most blocks with random phases in which decoys are picked, and most if these have too few maxima of any score."""
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
    One set per volume that has decoys; fewer decoys than wanted if there are not as many candidates.
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
    found = search.find(source, LOWEST)
    rng = np.random.default_rng(seed)
    # without fringes of particles: the highest score in random phases tells which particles are certain
    uncertain = _certain(particles, math.inf, voxel_size)
    first = _random_sets(source, search, found, uncertain, LOWEST, count // 2, rng)
    highest = max((float(one.picks.scores.max()) for one in first), default=lowest)
    certain = _certain(particles, CERTAIN * max(highest, lowest), voxel_size)
    mirrored = _inverted_set(source, search, found, certain)
    wanted = max(count // 2, count - _reaching(mirrored, lowest))
    sets = [mirrored, *_random_sets(source, search, found, certain, lowest, wanted, rng)]
    lowest = _reached_by(sets, lowest, count)
    chosen = _drawn([one for one in (_above(each, lowest) for each in sets) if len(one.picks)], count, rng)
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


def _inverted_set(source: Source, search: Search, found: Sequence[Maxima], certain: Picked) -> DecoySet:
    inverted = replace(source, sign=-source.sign, name=f"{source.name}, inverted contrast")
    maxima = search.find(inverted, LOWEST, [replace(one, median=-one.median) for one in found])
    outside = [one.select(~certain.near(one.positions, FRINGE)) for one in maxima]
    contrast = "dark" if source.sign == 1 else "bright"
    picks = _picks(search.choose(outside, LOWEST))
    return DecoySet(source.volume, contrast, INVERTED, (False, False, False), picks)


def _random_sets(
    source: Source,
    search: Search,
    found: Sequence[Maxima],
    certain: Picked,
    lowest: float,
    count: int,
    rng: np.random.Generator,
) -> list[DecoySet]:
    """Return the picks of as many blocks as give `count` of at least the score `lowest`, at most `USUAL_BLOCKS`.

    If these do not give `count` of any score, there are more blocks.
    """
    sets: list[DecoySet] = []
    for number, block in enumerate(randomised_blocks(source, certain, rng, MOST_BLOCKS), 1):
        picks = _picks(search.choose(search.find(block, LOWEST, found), LOWEST))
        if len(picks):
            smaller = [bool(a < b) for a, b in zip(block.volume.shape, source.volume.shape, strict=True)]
            sets.append(DecoySet(block.volume, "bright", RANDOM, (smaller[0], smaller[1], smaller[2]), picks))
        enough = LOWEST if number >= USUAL_BLOCKS else lowest
        if sum(_reaching(one, enough) for one in sets) >= count:
            break
    return sets


def _reaching(one: DecoySet, score: float) -> int:
    return int((one.picks.scores >= score).sum())


def _above(one: DecoySet, score: float) -> DecoySet:
    return replace(one, picks=_chosen(one.picks, one.picks.scores >= score))


def _reached_by(sets: Sequence[DecoySet], lowest: float, count: int) -> float:
    """Return the highest score that `count` decoys reach, at most `lowest`."""
    scores = np.sort(np.concatenate([one.picks.scores for one in sets]))[::-1]
    return min(lowest, float(scores[:count][-1])) if len(scores) else lowest


def _chosen(picks: Picks, mask: NDArray[np.bool_]) -> Picks:
    return Picks(picks.coordinates[mask], picks.scores[mask], picks.diameters[mask])


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
            drawn.append(replace(one, picks=_chosen(one.picks, mine)))
    return drawn
