"""Null of resolution: what averages of decoys reach, at the size of every class."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.particle_alignment import align_particles
from cryopipe.files.box_stacks import BoxStack
from cryopipe.mixtures.components import principal_components
from cryopipe.mixtures.gaussian import kmeans_labels
from cryopipe.volume.fsc import FSC, CorrectedFSC, resolution_at, without_mask_effect

logger = logging.getLogger(__name__)

GROUP = 40
"""Decoys in a group, at least; each decoy is in the average of all and in that of its group."""
MOST_GROUPS = 4
FEWEST = 10
"""Decoys in an average with a Fourier shell correlation."""
COMPONENTS = 8
"""Principal components in which decoys are divided into groups."""
CURVES = ("group", "particles", "shell", "frequency", "correlation")
"""Columns of the table of curves."""


@dataclass(frozen=True)
class NullResolution:
    """What averages of decoys of one size reach.

    Attributes
    ----------
    frequency
        (shells,) 1/angstrom.
    lowest, highest
        (shells,) smallest and largest correlation of the decoys' averages.
    finest
        Finest resolution of the decoys' averages at FSC 0.143, angstrom; infinite if none has one.
    averages
        Number of averages of decoys.
    """

    frequency: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    finest: float
    averages: int


def decoys_to_average(decoys: int, particles: int) -> int:
    """Return how many decoys are averaged: at most a third of the particles, but enough for one average.

    The curves are converted to the size of each class; a small dataset has many decoys and would spend most of its time here.

    Examples
    --------
    >>> decoys_to_average(150, 24), decoys_to_average(150, 300), decoys_to_average(30, 24)
    (40, 100, 30)
    """
    return min(decoys, max(GROUP, math.ceil(particles / 3)))


def decoy_groups(features: NDArray[np.float32], seed: int) -> list[NDArray[np.intp]]:
    """Return the decoys of each average: all of them, and groups with similar features, as classes are.

    Parameters
    ----------
    features
        (n, d) of the decoys.
    seed
        Of the division.

    Returns
    -------
    Indices of the decoys of each average; none if there are fewer than `FEWEST` decoys.
    """
    count = len(features)
    if count < FEWEST:
        return []
    everyone = np.arange(count)
    number = min(MOST_GROUPS, count // GROUP)
    if number < 2:
        return [everyone]
    values = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    points = principal_components(values, COMPONENTS).apply(values)
    generator = torch.Generator().manual_seed(seed)
    labels = kmeans_labels(points.double(), number, generator).numpy()
    groups = [np.flatnonzero(labels == label) for label in range(number)]
    return [everyone, *(group for group in groups if len(group) >= FEWEST)]


def average_decoys(
    boxes: BoxStack,
    decoys: pd.DataFrame,
    features: NDArray[np.float32],
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Align and average groups of decoys as classes are, and return the curves of their half-maps.

    One initial model is made for each half-set: those of noise are alike, and the first location of particles is left out.

    Parameters
    ----------
    boxes
        Boxes of the decoys for averaging.
    decoys
        Their n rows.
    features
        (n, d).
    options, seed, device
        As for `align_particles`.
    most
        Largest number of decoys, drawn at random; None for all.

    Returns
    -------
    One row per average and shell, see `CURVES`: group from 1, particles in the average, shell, frequency (1/angstrom) and
    corrected Fourier shell correlation.
    """
    tables, options = [], replace(options, initial_models=1)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(decoys))[:most])
    decoys, features = decoys.iloc[chosen], features[chosen]
    for number, members in enumerate(decoy_groups(features, seed), 1):
        result, _ = align_particles(boxes, decoys.iloc[members], options, seed + number, device, centred=True)
        if result.fsc is None:
            continue
        curve = _curve(result.fsc)
        logger.info(
            "%d decoys average to %s",
            len(members),
            f"{result.resolution_0143:.1f} A" if math.isfinite(result.resolution_0143) else "no resolution",
        )
        rows = {
            "group": number,
            "particles": int(result.kept.sum()),
            "shell": np.arange(len(curve.frequency)),
        }
        tables.append(pd.DataFrame({**rows, "frequency": curve.frequency, "correlation": curve.correlation}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(CURVES))


def _curve(fsc: CorrectedFSC) -> FSC:
    """Return the curve corrected for the mask alone.

    The correction for superposed noise, which a curve without a resolution has had, would make it lower than the curve of a
    class of noise that happens to have a resolution.
    """
    start = int(np.abs(fsc.masked.frequency - 1 / fsc.randomised_from).argmin())
    return without_mask_effect(fsc.masked, fsc.randomised, start)


def null_resolution(curves: pd.DataFrame, particles: int, finest: float = 0.0) -> NullResolution | None:
    """Return what averages of so many decoys reach.

    The ratio of signal to noise in a shell, FSC / (1 - FSC), grows in proportion to the number of averaged boxes. The curve
    of each average of decoys is converted to the size of the class in this way.

    Parameters
    ----------
    curves
        From `average_decoys`.
    particles
        Number of averaged particles of the class.
    finest
        Band limit of the class, angstrom.

    Returns
    -------
    None without averages of decoys.
    """
    if not len(curves):
        return None
    converted, frequency = [], np.zeros(0)
    for _, rows in curves.groupby("group"):
        values = np.clip(rows["correlation"].to_numpy(float), 0, 0.999)
        ratio = values / (1 - values) * particles / max(1, int(rows["particles"].iloc[0]))
        converted.append(ratio / (1 + ratio))
        frequency = rows["frequency"].to_numpy(float)
    voxel_size = 0.5 / frequency[-1]
    reached = [resolution_at(FSC(curve, frequency, voxel_size), 0.143, finest) for curve in converted]
    return NullResolution(
        frequency, np.min(converted, axis=0), np.max(converted, axis=0), min(reached), len(converted)
    )


def decoy_rows(decoys: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Return the decoys of all tomograms in the order of the names of their features."""
    filled = [table for table in decoys if len(table)] or [decoys[0]]
    table = pd.concat(filled, ignore_index=True)
    return table.set_index(columns.PARTICLE, drop=False).loc[list(names)].reset_index(drop=True)
