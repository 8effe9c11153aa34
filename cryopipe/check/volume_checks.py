"""Checks of the voxels of tomograms and masks, in one pass over a memory map, slab by slab."""

from __future__ import annotations

import math

import numpy as np
from skimage.filters import difference_of_gaussians

from cryopipe.check.finding import Finding
from cryopipe.errors import size_text
from cryopipe.files.opening import release_pages
from cryopipe.progress import Progress
from cryopipe.volume.padding import Padding, Region, find_padding
from cryopipe.volume.statistics import LARGEST, is_grey_value, robust_deviation, single_precision

SLAB_VOXELS = 16 * 2**20
"""Voxels in memory at a time; they take about 12 bytes each."""
BINNED_VOXEL_SIZE = 20.0
"""Angstrom; the contrast is tested on voxels of this size, which average out noise but not particles."""
BINNED_VOXELS = 16 * 2**20
"""Largest number of voxels for the test of the contrast."""
MOST_PADDING = 0.5
"""Fraction of the voxels; more padding gives a warning."""
INVERTED_SKEWNESS = 0.4
"""Sum of two skewnesses above which the contrast is reported as inverted; real tomograms of either contrast have
0.48 to 0.92 in the right direction, and noise has 0."""


def check_volume(
    volume: np.ndarray,
    contrast: str,
    voxel_size: float | None = None,
    name: str = "tomogram",
    slab_voxels: int = SLAB_VOXELS,
) -> list[Finding]:
    """Check the voxels of a tomogram in one pass, after detecting padding from its faces.

    Padding is reported and excluded from all other checks.

    Parameters
    ----------
    volume
        (z, y, x); a memory map is read a slab at a time.
    contrast
        "dark" or "bright" particles, as stated in the tomogram table.
    voxel_size
        Angstrom; None if unknown.
    name
        Name of the tomogram in progress messages.
    slab_voxels
        Voxels in memory at a time.
    """
    padding = find_padding(volume)
    scan = _Scan(Region(volume.shape, padding), _binning(volume.shape, voxel_size))
    thickness = scan.factor * max(1, slab_voxels // (volume[0].size * scan.factor))
    progress = Progress(volume.shape[0], "sections", f"checking {name}")
    for start in range(0, volume.shape[0], thickness):
        slab = np.asarray(volume[start : start + thickness])
        scan.add(slab, start)
        release_pages(volume)
        progress.advance(len(slab))
    if scan.unusable:
        at = ", ".join(str(index) for index in scan.first_unusable)
        problem = (
            f"{scan.unusable:,} {'voxel is' if scan.unusable == 1 else 'voxels are'} NaN, infinite or above {LARGEST:g}, "
            f"the first at x, y, z = {at} (from 0)"
        )
        return [
            Finding("bad", problem, "reconstruct the tomogram again, or replace these voxels by the mean")
        ]
    findings = _variation(scan, volume.dtype)
    if not findings:
        findings += _padded(padding)
        findings += _constant_slabs(scan)
        findings += _contrast(scan.binned, scan.known, contrast)
    return findings


def check_mask(mask: np.ndarray, shape_zyx: tuple[int, ...], slab_voxels: int = SLAB_VOXELS) -> list[Finding]:
    """Check that a mask (z, y, x) has the tomogram's shape and is not empty."""
    if mask.shape != shape_zyx:
        shapes = size_text(mask.shape[::-1]), size_text(shape_zyx[::-1])
        problem = f"has {shapes[0]} voxels (x, y, z), but the tomogram has {shapes[1]}"
        return [Finding("bad", problem, "use a mask with the tomogram's dimensions")]
    thickness = max(1, slab_voxels // mask[0].size)
    slabs = (mask[start : start + thickness] for start in range(0, mask.shape[0], thickness))
    if not any(bool((slab > 0).any()) for slab in slabs):
        return [
            Finding(
                "bad", "is empty: no voxel is above 0", "correct the mask, or leave the column mask blank"
            )
        ]
    return []


def _binning(shape_zyx: tuple[int, ...], voxel_size: float | None) -> int:
    """Return the binning factor of the volume on which the contrast is tested."""
    factor = 2 if voxel_size is None else max(1, round(BINNED_VOXEL_SIZE / voxel_size))
    while math.prod(shape_zyx) > BINNED_VOXELS * factor**3:
        factor += 1
    return min(factor, *shape_zyx)


class _Scan:
    """Statistics of a volume, accumulated slab by slab."""

    def __init__(self, region: Region, factor: int) -> None:
        shape_zyx = region.shape
        self.region = region
        self.factor = factor
        self.binned = np.zeros([size // factor for size in shape_zyx], np.float32)
        self.known = np.ones(self.binned.shape, bool)
        self.lowest = [np.full(size, np.inf) for size in shape_zyx]
        self.highest = [np.full(size, -np.inf) for size in shape_zyx]
        self.levels: set[float] = set()
        self.unusable = 0
        self.first_unusable: tuple[int, ...] = ()
        self.moments = np.zeros(3)

    def add(self, slab: np.ndarray, start: int) -> None:
        """Add the sections of a slab, the first of which is section `start`."""
        values = single_precision(slab)
        wrong = ~is_grey_value(values)
        if wrong.any():
            if not self.first_unusable:
                z, y, x = (int(index) for index in np.argwhere(wrong)[0])
                self.first_unusable = (x, y, z + start)
            self.unusable += int(wrong.sum())
        if self.unusable:
            return
        self._add_extremes(values, start)
        self._add_binned(values, start)
        some, data = values[:: max(1, len(values) // 4)], values
        if not self.region.whole:
            known = self._known(values.shape, start)
            some, data = some[known[:: max(1, len(values) // 4)]], values[known]
        if len(self.levels) <= 16:
            self.levels.update(np.unique(some).tolist())
        if data.size:
            mean = float(data.mean(dtype=np.float64))
            squares = float(np.square(data - mean, dtype=np.float64).sum())
            self.moments += (data.size, data.size * mean, squares + data.size * mean**2)

    def _known(self, shape: tuple[int, ...], start: int) -> np.ndarray:
        """Return which voxels of a slab are not padding, and record which binned voxels contain none."""
        z, y, x = (np.arange(size) for size in shape)
        known = self.region.grid(z + start, y, x)
        f = self.factor
        blocks = known[tuple(slice(size // f * f) for size in known.shape)]
        blocks = blocks.reshape([part for size in known.shape for part in (size // f, f)])
        self.known[start // f : start // f + len(blocks)] = blocks.all(axis=(1, 3, 5))
        return known

    def _add_extremes(self, values: np.ndarray, start: int) -> None:
        part = slice(start, start + len(values))
        low_yx, high_yx = values.min(axis=0), values.max(axis=0)
        self.lowest[0][part], self.highest[0][part] = values.min(axis=(1, 2)), values.max(axis=(1, 2))
        for axis, over in ((1, 1), (2, 0)):
            np.minimum(self.lowest[axis], low_yx.min(axis=over), out=self.lowest[axis])
            np.maximum(self.highest[axis], high_yx.max(axis=over), out=self.highest[axis])

    def _add_binned(self, values: np.ndarray, start: int) -> None:
        z, y, x = (size // self.factor for size in values.shape)
        f = self.factor
        blocks = values[: z * f, : y * f, : x * f].reshape(z, f, y, f, x, f)
        self.binned[start // f : start // f + z] = blocks.mean(axis=(1, 3, 5), dtype=np.float32)

    @property
    def mean(self) -> float:
        return float(self.moments[1] / self.moments[0])

    @property
    def deviation(self) -> float:
        return float(np.sqrt(max(self.moments[2] / self.moments[0] - self.mean**2, 0.0)))


def _variation(scan: _Scan, dtype: np.dtype) -> list[Finding]:
    low, high = float(scan.lowest[0].min()), float(scan.highest[0].max())
    if low == high:
        return [
            Finding(
                "bad", f"all voxels have the same value, {low:g}", "reconstruct or copy the tomogram again"
            )
        ]
    if scan.moments[0] == 0:
        return [Finding("bad", "contains only padding", "reconstruct or copy the tomogram again")]
    if len(scan.levels) <= 4:
        levels = ", ".join(f"{level:g}" for level in sorted(scan.levels))
        problem = f"has only {len(scan.levels)} different values ({levels}): probably a mask or labels"
        return [Finding("bad", problem, "use the tomogram; enter a mask in the column mask")]
    if dtype.kind in "iu" and scan.deviation < 1:
        problem = (
            f"stores integers of standard deviation {scan.deviation:.2g}: rounding has destroyed the image"
        )
        remedy = "convert the original again, with its grey values scaled to the integer range"
        return [Finding("bad", problem, remedy)]
    if scan.deviation < 1e-5 * max(abs(low), abs(high)):
        problem = (
            f"has almost no variation: standard deviation {scan.deviation:.3g} at a mean of {scan.mean:.6g}"
        )
        return [Finding("bad", problem, "reconstruct it again, or subtract the mean before saving it")]
    return []


def _padded(padding: Padding | None) -> list[Finding]:
    if padding is None:
        return []
    values = ", ".join(f"{value:g}" for value in padding.values)
    problem = f"{100 * padding.fraction:.1f} % of the voxels are padding ({values}), which is ignored"
    if padding.fraction > MOST_PADDING:
        return [
            Finding(
                "warning",
                problem,
                "inspect a slice; if it shows an image there, reconstruct the tomogram again",
            )
        ]
    return [Finding("note", problem, "no action needed; trimming it would make the file smaller")]


def _constant_slabs(scan: _Scan) -> list[Finding]:
    """Find planes of a single value inside the volume; those at its ends are padding."""
    findings = []
    for axis, low, high in zip("zyx", scan.lowest, scan.highest, strict=True):
        varied = np.flatnonzero(low != high)
        inner = np.arange(varied[0], varied[-1]) if varied.size else np.arange(low.size)
        constant = inner[low[inner] == high[inner]]
        if constant.size == 0:
            continue
        fraction = constant.size / low.size
        where = f"{constant.size} of {low.size} planes along {axis} have a single value each"
        problem = f"{where}, between {axis} = {constant[0]} and {constant[-1]} (from 0)"
        remedy = "inspect these slices; if they contain no image, reconstruct the tomogram again"
        findings.append(Finding("bad" if fraction > 0.5 else "warning", problem, remedy))
    return findings


def _contrast(binned: np.ndarray, known: np.ndarray, contrast: str) -> list[Finding]:
    """Compare the sign of the grey values' skewness with the stated contrast.

    Particles are denser than ice and fill less of the volume, so the grey values are skewed towards them. The
    binned density and its band-pass at particle size must both be skewed: slow gradients skew only the first,
    fringes around strong objects only the second.
    """
    if min(binned.shape) < 8 or not known.any():
        return []
    if not known.all():
        binned = np.where(known, binned, np.median(binned[known]))
    band = difference_of_gaussians(binned, 1.5, 6, mode="reflect")
    inner = (slice(2, -2),) * 3
    skewness = np.array([_robust_skewness(binned[known]), _robust_skewness(band[inner][known[inner]])])
    sign = 1 if contrast == "dark" else -1  # of the wrong direction
    if (sign * skewness > 0.1).all() and sign * skewness.sum() > INVERTED_SKEWNESS:
        other = {"dark": "bright", "bright": "dark"}[contrast]
        problem = f"the particles seem to be {other}, but the tomogram table states {contrast}"
        remedy = f"inspect a slice; if they are {other}, enter {other} in the column contrast"
        return [Finding("warning", problem, remedy)]
    return []


def _robust_skewness(values: np.ndarray) -> float:
    """Return the third standardised moment of values clipped at 6 robust standard deviations."""
    median, deviation = robust_deviation(values)
    if deviation == 0:
        return 0.0
    scaled = np.clip((values - median) / deviation, -6, 6).astype(np.float64)
    scaled -= scaled.mean()
    return float((scaled**3).mean() / scaled.std() ** 3)
