"""Purity of a class: whether halves chosen by features differ more than random halves.

Both maps of a division are made in the poses of the class's alignment. Of their difference, what is a multiple of the average
and what depends only on the distance from the centre does not count: particles differ in contrast, and boxes in density.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe import columns
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.spectra import Spectra, batches
from cryopipe.averaging.cluster_facts import without_radial_mean
from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.initial_model import add_symmetric
from cryopipe.averaging.options import MASK_MARGIN, AveragingOptions
from cryopipe.files.box_stacks import BoxStack
from cryopipe.particles import centred_boxes_of_particles, rotations_of_table, shifts_of_table

MOST = 200
"""Particles of a class that are compared."""
FEWEST = 24
RANDOM_DIVISIONS = 39
SMALLEST_PART = 0.2
"""The smaller group has at least this fraction of the particles."""
LARGER = 1.15
"""A class is suspected to be a mixture if its two groups differ by this many times more than random halves."""
LARGEST_P = 0.05


@dataclass(frozen=True)
class Purity:
    """Comparison of a division by features with random ones.

    Attributes
    ----------
    ratio
        Squared difference of the two groups' maps over the mean of random divisions; NaN with too few particles.
    p
        Probability of at least this difference for a random division; NaN with too few particles.
    larger_group
        Fraction of the particles in the larger group; 1 if the class is not suspected to be a mixture.
    """

    ratio: float
    p: float
    larger_group: float

    @property
    def mixture(self) -> bool:
        """Whether the class is suspected to be a mixture."""
        return self.larger_group < 1


def purity_of_class(
    particles: pd.DataFrame,
    features: NDArray[np.float32],
    boxes: BoxStack,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
) -> Purity:
    """Compare two groups by features within a class with random divisions into groups of the same sizes.

    Parameters
    ----------
    particles
        Aligned particles of the class.
    features
        (n, d) of them.
    boxes
        Their boxes for averaging.
    options, seed, device
        As for `align_particles`.
    """
    rng = np.random.default_rng(seed)
    in_average = particles.get(columns.ALIGNMENT_KEPT, pd.Series(dtype=int)).to_numpy(int) == 1
    kept = np.sort(rng.permutation(np.flatnonzero(in_average))[:MOST])
    if len(kept) < FEWEST:
        return Purity(math.nan, math.nan, 1.0)
    table = particles.iloc[kept]
    group = two_groups_by_features(features[kept])
    aligned = _Aligned(table, boxes, options, device or torch.device("cpu"))
    found = aligned.difference(group)
    random = np.array([aligned.difference(rng.permutation(group)) for _ in range(RANDOM_DIVISIONS)])
    p = (1 + int((random >= found).sum())) / (1 + len(random))
    ratio = float(found / max(random.mean(), 1e-30))
    mixture = p <= LARGEST_P and ratio >= LARGER
    return Purity(ratio, p, max(group.mean(), 1 - group.mean()) if mixture else 1.0)


def two_groups_by_features(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (n,) a division along the first principal component into two groups, each of one mean as close as possible."""
    values = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    axis = np.linalg.svd(values, full_matrices=False)[2][0]
    along = values @ axis
    ordered, n = np.sort(along), len(along)
    least = max(1, math.ceil(SMALLEST_PART * n))
    # the cut with the smallest sum of squares within both groups
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    counts = np.arange(least, n - least + 1)
    between = sums[counts] ** 2 / counts + (sums[-1] - sums[counts]) ** 2 / (n - counts)
    cut = int(counts[between.argmax()])
    group = np.zeros(n, bool)
    group[np.argsort(along, kind="stable")[cut:]] = True
    return group


class _Aligned:
    """Boxes of a class in their poses, of which maps of subsets are made."""

    def __init__(
        self, table: pd.DataFrame, boxes: BoxStack, options: AveragingOptions, device: torch.device
    ) -> None:
        chosen, at = centred_boxes_of_particles(boxes, table)
        diameter = options.mask_diameter or MASK_MARGIN * float(table[columns.DIAMETER].max())
        self.context = AlignmentContext(
            boxes.box_size, boxes.voxel_size, replace(options, mask_diameter=diameter), device
        )
        self.band: Band = self.context.band(self.context.initial_shells)
        spectra = Spectra(chosen, chosen.tilt_ranges, device)
        wedges = spectra.measured(self.band)
        shifts = shifts_of_table(table) / boxes.voxel_size - at
        matrices = rotations_of_table(table).as_matrix()
        self.matrices = torch.from_numpy(matrices).float().to(device)
        moved = self.band.shift_phases(-torch.from_numpy(shifts).float().to(device))
        rows = [
            spectra.coefficients(batch, self.band, wedges)
            for batch in batches(np.arange(len(table)), len(self.band) * 16)
        ]
        self.back = torch.cat(rows) * moved
        self.measured = wedges[spectra.scheme_of_box]
        everyone = np.ones(len(table), bool)
        self.mean = self._structure(self._map(everyone))

    def _map(self, members: NDArray[np.bool_]) -> Tensor:
        sums, rows = self.band.empty_sums(), torch.from_numpy(np.flatnonzero(members))
        add_symmetric(
            self.band, sums, self.back[rows], self.measured[rows], self.matrices[rows], self.context.symmetry
        )
        return self.band.volume_from_sums(sums, self.context.no_prior(self.band))

    def _structure(self, volume: Tensor) -> Tensor:
        """Return what is inside the mask, without radial mean."""
        return without_radial_mean(volume) * self.context.mask

    def difference(self, group: NDArray[np.bool_]) -> float:
        """Return the squared difference of the maps of both groups, without multiples of the average."""
        apart = self._structure(self._map(group) - self._map(~group))
        along = (apart * self.mean).sum() / (self.mean**2).sum().clamp(min=1e-30)
        return float(((apart - along * self.mean) ** 2).sum())
