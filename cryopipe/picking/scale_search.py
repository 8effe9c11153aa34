"""Search at many diameters at once, from one Fourier transform of a tomogram; each object is found at its own diameter.

The responses are those of `cryopipe.picking.balls`: contrast of a ball with the layer around it. Each diameter needs only
the low frequencies, so that its response is computed on a lattice of six points across the ball. This is fast enough for a
preview, but takes some 30 bytes of memory per voxel, and positions are those of a coarse lattice.

A maximum counts if the amplitude is a maximum over the diameters, too. Unlike in `Search`, a large particle and its parts
are both found, since parts may explain more: without correction of the contrast transfer function a tomogram hardly shows
what is larger than some 200 A.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial import cKDTree

from cryopipe.picking.balls import summits
from cryopipe.picking.candidates import MARGIN, Search
from cryopipe.picking.maxima import Maxima
from cryopipe.picking.one_per_particle import select_particles
from cryopipe.picking.parallel import workers_on
from cryopipe.picking.peaks import robust_statistics
from cryopipe.picking.source import Source

logger = logging.getLogger(__name__)

ACROSS = 6
"""Points of the lattice across a ball."""
_GAP = 1.2
"""Inner radius of the layer around a ball, in radii of the ball; its volume is that of the ball."""
_OUTER = (_GAP**3 + 1) ** (1 / 3)
_EDGE = 0.3
"""Standard deviation of the soft edges of ball and layer, lattice points."""
_LEAST_KNOWN = 0.3
"""Smallest fraction of known voxels in the ball and in the layer."""
_SAMPLED = 3
"""Every third point along each axis is sampled for the statistics."""

_BESIDE, _NEAR = 2, 0.25
"""Number of larger and of smaller diameters with which a maximum is compared, and the distance, in diameters."""
_FRINGE = 1.5
"""Ratio of scores above which the stronger of two objects that touch has made the other, a fringe or a part."""

Array = NDArray[np.float32]


class ScaleSearch(Search):
    """Search for maxima over position and diameter in volumes that fit into memory; the diameters ascend."""

    def find(self, source: Source, threshold: float, like: Sequence[Maxima] | None = None) -> list[Maxima]:
        """Return the maxima of at least a score for every diameter; see `Search.find`."""
        lowest = threshold if like is None else MARGIN * threshold
        spectra = _Spectra.of(source, max(self.diameters) / self.voxel_size)
        found = []
        for number, diameter in enumerate(self.diameters):
            one = spectra.maxima(diameter / self.voxel_size, lowest)
            found.append(one if like is None else one.measured_by(like[number]))
        for rule in (self._highest, self._apart, self._whole):
            found = [one.select(kept) for one, kept in zip(found, rule(found), strict=True)]
        found = [
            one.select((one.scores >= threshold) & self._allowed(one.positions, source)) for one in found
        ]
        counts = " ".join(str(len(one.heights)) for one in found)
        logger.info("%s: maxima above %g sigma by diameter: %s", source.name, threshold, counts)
        return found

    def choose(self, found: Sequence[Maxima], lowest: float) -> tuple[NDArray[np.float64], ...]:
        """Return all candidates of at least a score: those of one object were reduced to one by `find`."""
        found = [one.select(one.scores >= lowest) for one in found]
        positions, scores = (
            np.concatenate([getattr(one, name) for one in found]) for name in ("positions", "scores")
        )
        diameters = np.repeat(np.array(self.diameters, dtype=float), [len(one.heights) for one in found])
        order = np.argsort(-scores, kind="stable")
        return positions[order], scores[order], diameters[order]

    def _highest(self, found: Sequence[Maxima]) -> list[NDArray[np.bool_]]:
        """Return which maxima are higher than those beside them of the diameters next to theirs."""
        heights = [one.heights - one.median for one in found]
        kept = [np.ones(len(one), bool) for one in heights]
        for (one, other), (mine, theirs) in self._pairs(found, lambda a, _: _NEAR * a):
            if 0 < abs(one - other) <= _BESIDE:
                kept[one][mine[heights[other][theirs] > heights[one][mine]]] = False
        return kept

    def _apart(self, found: Sequence[Maxima]) -> list[NDArray[np.bool_]]:
        """Return which maxima do not overlap a higher one of the same diameter."""
        kept = []
        for one, diameter in zip(found, self.diameters, strict=True):
            chosen = np.zeros(len(one.heights), bool)
            size = np.full(len(chosen), diameter / self.voxel_size)
            chosen[select_particles(one.positions, size, one.energies)] = True
            kept.append(chosen)
        return kept

    def _whole(self, found: Sequence[Maxima]) -> list[NDArray[np.bool_]]:
        """Return which maxima touch neither a larger object of a higher score nor any of a much higher one."""
        kept = [np.ones(len(one.heights), bool) for one in found]
        for (one, other), (mine, theirs) in self._pairs(found, lambda a, b: (a + b) / 2):
            ratio = found[other].scores[theirs] / found[one].scores[mine]
            kept[one][mine[ratio > (1 if other > one else _FRINGE)]] = False
        return kept

    def _pairs(
        self, found: Sequence[Maxima], reach: Callable[[float, float], float]
    ) -> Iterator[tuple[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]]]:
        """Yield two diameters and the pairs of their maxima within the reach of their sizes, by index."""
        trees = [cKDTree(one.positions) for one in found]
        sizes = [diameter / self.voxel_size for diameter in self.diameters]
        for one, other in itertools.product(range(len(found)), repeat=2):
            if len(found[one].heights) and len(found[other].heights):
                limit = reach(sizes[one], sizes[other])
                pairs = trees[one].sparse_distance_matrix(trees[other], limit, output_type="ndarray")
                yield (one, other), (pairs["i"], pairs["j"])


@dataclass(frozen=True)
class _Spectra:
    """Fourier transforms of the values and of the weights of a volume with a margin of unknown voxels behind it.

    Attributes
    ----------
    values, weights
        Half of the transforms (z, y, x).
    padded, shape
        Voxels z, y, x with and without the margin.
    workers
        Threads.
    """

    values: NDArray[np.complex64]
    weights: NDArray[np.complex64]
    padded: tuple[int, ...]
    shape: tuple[int, ...]
    workers: int

    @classmethod
    def of(cls, source: Source, largest: float) -> _Spectra:
        """Transform a volume for diameters up to `largest`, voxels."""
        shape = source.volume.shape
        margin = math.ceil(_OUTER * largest / 2 + 2)
        padded = tuple(int(fft.next_fast_len(n + margin, real=True)) for n in shape)
        z, y, x = ((0, n) for n in shape)
        block = source.block((z, y, x))
        known = np.ones((1, 1, 1), np.float32)
        for factor in block.weights:
            known = known * factor.cpu().numpy()
        workers = workers_on(source.device)
        parts = (block.values.cpu().numpy(), np.broadcast_to(known, shape))
        values, weights = (fft.rfftn(part, padded, workers=workers) for part in parts)
        return cls(values, weights, padded, shape, workers)

    def maxima(self, diameter: float, lowest: float) -> Maxima:
        """Return the maxima of the amplitudes of balls of one diameter, voxels, of at least a score."""
        response, pitch = self.amplitudes(diameter)
        size = [
            min(math.floor((n - 1) / p) + 1, m - 1)
            for n, p, m in zip(self.shape, pitch, response.shape, strict=True)
        ]
        inner = response[tuple(slice(n) for n in size)]
        samples = inner[::_SAMPLED, ::_SAMPLED, ::_SAMPLED]
        median, sigma = robust_statistics(samples[samples != 0].astype(np.float64))
        # one point more on every side; the transform is periodic
        around = torch.from_numpy(np.pad(response, [(1, 0)] * 3, mode="wrap"))
        index, offsets, heights = summits(around, 1, size, median + lowest * sigma)
        positions = (index + offsets).numpy() * pitch
        positions = np.clip(positions, 0, np.array(self.shape) - 1.0)
        return Maxima(positions, heights.numpy(), median, sigma)

    def amplitudes(self, diameter: float) -> tuple[Array, NDArray[np.float64]]:
        """Return the amplitudes of balls of one diameter on a lattice, and its spacings z, y, x, voxels.

        They are 0 where too few voxels are known.
        """
        size = tuple(
            min(n, int(fft.next_fast_len(math.ceil(n * ACROSS / diameter), real=True))) for n in self.padded
        )
        kept = [
            np.r_[0 : (m + 1) // 2, n - m // 2 : n] for n, m in zip(self.padded[:2], size[:2], strict=True)
        ]
        chosen = np.ix_(*kept, np.arange(size[2] // 2 + 1))
        frequency = np.sqrt(
            sum(
                axis.astype(np.float32) ** 2
                for axis in np.ix_(
                    *(np.fft.fftfreq(n)[one] for n, one in zip(self.padded[:2], kept, strict=True)),
                    np.arange(size[2] // 2 + 1) / self.padded[2],
                )
            )
        )
        pitch = np.array(self.padded) / size
        soft = np.exp(-2 * (math.pi * _EDGE * float(pitch.mean()) * frequency) ** 2)
        radius = diameter / 2
        ball, hole, whole = (_ball(frequency, radius * factor) for factor in (1, _GAP, _OUTER))
        kernels = [soft * ball, soft * (whole * np.float32(_OUTER**3) - hole * np.float32(_GAP**3))]
        scale = np.float32(math.prod(size) / math.prod(self.padded))

        def smoothed(spectrum: NDArray[np.complex64], kernel: Array) -> Array:
            return np.asarray(
                fft.irfftn(spectrum * kernel, size, overwrite_x=True, workers=self.workers) * scale
            )

        values, weights = self.values[chosen], self.weights[chosen]
        fractions = [smoothed(weights, kernel) for kernel in kernels]
        means = [
            smoothed(values, kernel) / np.maximum(fraction, _LEAST_KNOWN)
            for kernel, fraction in zip(kernels, fractions, strict=True)
        ]
        enough = np.minimum(*fractions) >= _LEAST_KNOWN
        amplitude = math.sqrt(math.pi / 12 * diameter**3)
        contrast = (means[0] - means[1]) * np.sqrt(np.maximum(fractions[0], 0)) * np.float32(amplitude)
        return np.where(enough, contrast, 0), pitch


def _ball(frequency: Array, radius: float) -> Array:
    """Return the Fourier transform of a ball of volume 1; frequencies in cycles per voxel."""
    x = np.maximum(np.float32(2 * math.pi * radius) * frequency, np.float32(0.05))
    return np.asarray(3 * (np.sin(x) - x * np.cos(x)) / x**3)
