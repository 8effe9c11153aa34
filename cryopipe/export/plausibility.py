"""Comparison of particle positions with the tomograms: positions that are mirrored, exchanged or half a box off.

The mean grey value at the positions is compared with that at random places, in standard errors; particles differ from
their surroundings. The same is done for positions as other conventions would have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryopipe.export.list_reading import diameters_of
from cryopipe.export.options import TomogramRecord
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext, by_tomogram
from cryopipe.files.mrc import open_volume

MOST_PARTICLES = 300
"""Per tomogram."""
MOST_TOMOGRAMS = 5
RANDOM_PLACES = 500
CLEAR, BETTER = 6.0, 4.0
"""Standard errors: of the other convention, and above that of the positions as they are."""


def doubts(particles: ParticleSet, context: ExportContext) -> list[str]:
    """Return one sentence for each other convention that fits the tomograms clearly better than the positions.

    Parameters
    ----------
    particles
        With positions in 0-based voxels, at least ten in a tomogram to be judged.
    context
        The tomograms; their files are read at the particles.
    """
    scores: dict[str, list[float]] = {}
    for name, rows in list(by_tomogram(particles, np.arange(len(particles))).items())[:MOST_TOMOGRAMS]:
        if len(rows) >= 10:
            chosen = particles.select(rows[:: max(1, len(rows) // MOST_PARTICLES)])
            diameter = float(np.median(diameters_of(chosen, context)))
            box = context.box_width or 1.5 * diameter
            for way, score in _scores(chosen.positions, context.tomograms[name], diameter, box).items():
                scores.setdefault(way, []).append(score)
    means = {way: float(np.mean(values)) for way, values in scores.items()}
    found = []
    for way in [one for one in means if one]:
        if means[way] > max(CLEAR, means[""] + BETTER):
            found.append(
                f"positions that are {way} agree better with the tomograms: {means[way]:.1f} standard errors of the "
                f"grey values at random places, as they are {means['']:.1f}"
            )
    return found


def outside_counts(particles: ParticleSet, context: ExportContext) -> dict[str, int]:
    """Return the number of particles outside their tomogram, by tomogram; only tomograms with such particles."""
    counts = {}
    for name, rows in by_tomogram(particles, np.arange(len(particles))).items():
        last = np.array(context.tomograms[name].shape_zyx[::-1]) - 1
        places = particles.positions[rows]
        outside = int(((places < 0) | (places > last)).any(axis=1).sum())
        if outside:
            counts[name] = outside
    return counts


def _scores(positions: FloatArray, record: TomogramRecord, diameter: float, box: float) -> dict[str, float]:
    """Return the agreement of the positions, and of those of other conventions, in standard errors."""
    volume = open_volume(record.path)
    half = max(1, round(diameter / record.voxel_size / 4))
    last = np.array(volume.shape[::-1]) - 1
    rng = np.random.default_rng(0)
    background = _means(volume, rng.uniform(0, 1, (RANDOM_PLACES, 3)) * last, half)
    sign = -1.0 if record.contrast == "dark" else 1.0
    shift = box / record.voxel_size / 2
    ways = {"": positions}
    for axis, letter in enumerate("xyz"):
        mirrored = positions.copy()
        mirrored[:, axis] = last[axis] - mirrored[:, axis]
        ways[f"mirrored in {letter}"] = mirrored
    ways["of exchanged x and z"] = positions[:, ::-1]
    ways["of exchanged y and z"] = positions[:, [0, 2, 1]]
    ways["half a box further"] = positions + shift
    ways["half a box lower"] = positions - shift
    scores = {}
    for way, places in ways.items():
        inside = ((places >= 0) & (places <= last)).all(axis=1)
        if way and inside.sum() < 0.5 * len(places):
            continue
        means = _means(volume, places[inside], half)
        error = background.std() / max(1, len(means)) ** 0.5
        scores[way] = (
            float(sign * (means.mean() - background.mean()) / error) if len(means) and error else 0.0
        )
    return scores


def _means(volume: NDArray[Any], places: FloatArray, half: int) -> FloatArray:
    """Return (n,) mean grey values of cubes of 2 `half` + 1 voxels around (n, 3) x, y, z."""
    found = []
    for x, y, z in np.rint(places).astype(int):
        low = [max(0, centre - half) for centre in (z, y, x)]
        cube = volume[low[0] : z + half + 1, low[1] : y + half + 1, low[2] : x + half + 1]
        found.append(float(np.mean(cube, dtype=np.float64)))
    return np.array(found)
