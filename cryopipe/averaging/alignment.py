"""Reference-free alignment of a cluster's boxes in two independent half-sets."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, Poses
from cryopipe.alignment.spectra import Spectra
from cryopipe.averaging.averages import fsc_weighted, wedge_compensated_average, wedge_compensated_sums
from cryopipe.averaging.body import find_body
from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.half_sets import assign_half_sets
from cryopipe.averaging.halfset import HalfSet, initial_half_set
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.resolution import Resolution, measure_resolution
from cryopipe.averaging.superposition import rotated, superpose, transform_poses
from cryopipe.boxes import Boxes
from cryopipe.volume.fsc import FSC, CorrectedFSC, fourier_shell_correlation, resolution_at

logger = logging.getLogger(__name__)

FEWEST_FOR_FSC = 10
"""Smallest number of boxes for an FSC; with fewer, the superposition itself causes the half-maps' correlation."""
ROUNDS = 3
"""Steps of local refinement of every box per round."""
SEARCHES = 2
"""Rounds with an exhaustive search; the second, with finer maps, corrects boxes misaligned at low resolution."""
BAND_MARGIN = 3
"""Shells beyond the current resolution that are included, so that the resolution can improve."""


@dataclass(frozen=True)
class AlignmentResult:
    """The aligned boxes of a cluster and their average.

    Attributes
    ----------
    rotations
        n rotations, average to particle.
    shifts_voxels
        (n, 3) x, y, z: the particle's centre relative to the box's centre.
    scores
        (n,) correlation with the map of the same half-set over the measured coefficients, -1 to 1.
    kept
        (n,) whether the box is in the average.
    half_sets
        (n,) 1 or 2.
    average
        (z, y, x), weighted by the half-maps' FSC.
    half_maps
        Two unfiltered, superposed (z, y, x) maps; the same map twice if there is only one box.
    mask
        (z, y, x) mask of the FSC.
    fsc
        None if there are too few boxes to measure it.
    resolution_0143, resolution_05
        Angstrom; infinite if not measured or if the half-maps correlate no better than noise.
    voxel_size
        Angstrom.
    extent
        Diameter of the particle in the average, see `Body`, angstrom; NaN if nothing is above the noise.
    """

    rotations: Rotation
    shifts_voxels: NDArray[np.float64]
    scores: NDArray[np.float64]
    kept: NDArray[np.bool_]
    half_sets: NDArray[np.intp]
    average: NDArray[np.float32]
    half_maps: tuple[NDArray[np.float32], NDArray[np.float32]]
    mask: NDArray[np.float32]
    fsc: CorrectedFSC | None
    resolution_0143: float
    resolution_05: float
    voxel_size: float
    extent: float = math.nan


def align_cluster(
    boxes: Boxes, tilt_ranges: NDArray[np.float64], voxel_size: float, options: AveragingOptions, seed: int,
    device: torch.device | None = None, groups: NDArray[np.intp] | None = None,
) -> AlignmentResult:  # fmt: skip
    """Align boxes without a reference and average them.

    Parameters
    ----------
    boxes
        (n, z, y, x) cubes, particles bright; an array or another object indexed by arrays of box numbers.
    tilt_ranges
        (n, 2) lowest and highest tilt of each box's tomogram, degrees.
    voxel_size
        Angstrom.
    options
        See `AveragingOptions`.
    seed
        The same seed gives the same result.
    device
        Device of the computation; by default the CPU.
    groups
        (n,) numbers from 0; boxes of one group, such as those of one particle, are in the same half-set. None puts every
        box into a group of its own.

    Returns
    -------
    Poses, half-maps, average and resolution. Fewer than ten boxes are averaged without a resolution.
    """
    spectra = Spectra(boxes, tilt_ranges, device or torch.device("cpu"))
    context = AlignmentContext(spectra.box_size, voxel_size, options, spectra.device)
    rng = np.random.default_rng(seed)
    half_sets = assign_half_sets(np.arange(len(spectra)) if groups is None else groups, rng)
    halves = [
        initial_half_set(context, spectra, np.flatnonzero(half_sets == number), int(number), rng)
        for number in np.unique(half_sets)
    ]
    search = context.exhaustive_search(options.angular_step)
    return _refine(context, halves, half_sets, search, seed)


def _refine(
    context: AlignmentContext,
    halves: list[HalfSet],
    half_sets: NDArray[np.intp],
    search: Grid | None,
    seed: int,
) -> AlignmentResult:
    """Refine both half-sets in increasingly fine bands, then superpose and average them.

    The first `SEARCHES` rounds use the exhaustive search `search`, later rounds refine locally. Of large half-sets only
    a subset is refined; all boxes are then aligned to its map.
    """
    rng = np.random.default_rng(seed)
    wholes = halves
    halves = [whole.subset(context.options.refinement_boxes, rng) for whole in wholes]
    band, superposition, resolution = context.band(context.initial_shells), None, math.inf
    measurable = len(halves) == 2 and len(half_sets) >= FEWEST_FOR_FSC
    for number in range(context.options.refinement_iterations):
        grid = search if number < SEARCHES else None
        sums = [half.align(band, grid, ROUNDS) for half in halves]
        if not measurable:
            for half, s in zip(halves, sums, strict=True):
                half.volume = band.volume_from_sums(s, context.no_prior(band)) * context.mask
            continue
        superposition, correlation = _agreement(context, band, sums, superposition)
        for half, s in zip(halves, sums, strict=True):
            half.volume = band.volume_from_sums(s, _noise_to_signal(correlation, band)) * context.mask
            half.exclude_outliers(context.options.outlier_deviations)
        before, resolution = resolution, resolution_at(correlation, 0.143)
        logger.info(
            "round %d, band to %.1f A: resolution of the half-maps %.1f A",
            number + 1,
            context.extent / band.shells,
            resolution,
        )
        shells = max(context.shell_of(resolution), context.initial_shells) + BAND_MARGIN
        finer = context.band(min(context.last_shell, shells))
        settled = resolution > 0.995 * before and finer.shells <= band.shells
        if settled and number >= SEARCHES + 1:
            break
        band = finer
    for whole, part in zip(wholes, halves, strict=True):
        if part is not whole:
            middle = context.band(min(band.shells, context.initial_shells + BAND_MARGIN))
            whole.adopt_map(part, search, middle, band, ROUNDS)
            whole.exclude_outliers(context.options.outlier_deviations)
    return _finish(context, wholes, half_sets, superposition, seed)


def _agreement(
    context: AlignmentContext, band: Band, sums: list[Tensor], superposition: Poses | None
) -> tuple[Poses, FSC]:
    """Return the superposition of the half-maps and their FSC; the half-maps themselves are not changed."""
    volumes = [band.volume_from_sums(s, context.no_prior(band)) * context.mask for s in sums]
    superposition, _ = superpose(volumes[0], volumes[1], band, superposition, context.max_shift_voxels)
    fsc = fourier_shell_correlation(volumes[0], rotated(volumes[1], superposition), context.voxel_size)
    fsc.correlation[band.shells + 1 :] = 0  # outside the band
    return superposition, fsc


def _noise_to_signal(fsc: FSC, band: Band) -> Tensor:
    """Return the noise-to-signal ratio of a half-map per shell, (1 - FSC) / FSC."""
    clipped = np.clip(fsc.correlation[: band.shells + 1], 0.01, 0.999)
    ratio = torch.from_numpy((1 - clipped) / clipped).float().to(band.device)
    padded = ratio.new_full((band.shells + 1,), 99.0)
    padded[: len(ratio)] = ratio
    return padded


def _finish(
    context: AlignmentContext,
    halves: list[HalfSet],
    half_sets: NDArray[np.intp],
    superposition: Poses | None,
    seed: int,
) -> AlignmentResult:
    """Superpose half-map 2 on half-map 1, average, and measure the resolution."""
    coarse, reach = context.band(context.initial_shells), context.max_shift_voxels
    if len(halves) == 2:
        if superposition is None:
            superposition, _ = superpose(halves[0].volume, halves[1].volume, coarse, None, reach)
        halves[1].set_poses(transform_poses(halves[1].poses, superposition))
    centred, extent = _centring(context, halves)
    for half in halves:
        half.set_poses(transform_poses(half.poses, centred))
    complete = context.band(context.box_size)
    sums = [wedge_compensated_sums(half, complete) for half in halves]
    half_maps = [wedge_compensated_average(s, complete) for s in sums]
    average = wedge_compensated_average(torch.stack(sums).sum(dim=0), complete)
    measured = None
    if len(halves) == 2 and len(half_sets) >= FEWEST_FOR_FSC:
        measured = measure_resolution(half_maps[0], half_maps[1], context, seed)
        average = fsc_weighted(average, measured.fsc.corrected)
    return _result(context, halves, half_sets, average, half_maps, measured, extent)


def _centring(context: AlignmentContext, halves: list[HalfSet]) -> tuple[Poses, float]:
    """Return the translation of the average's centre of mass to its centre, and the particle's extent in angstrom.

    Where the half-maps show no particle, or disagree about its centre, the mean centre of the boxes is the best estimate
    of it: boxes deviate from their particles in all directions.
    """
    back = [half.poses.matrices.transpose(1, 2) @ half.poses.shifts_voxels[:, :, None] for half in halves]
    kept = torch.cat([half.kept for half in halves])
    places = torch.cat(back)[..., 0]
    chosen = places[kept] if bool(kept.any()) else places
    shift, extent = chosen.mean(dim=0), math.nan
    if len(halves) == 2:
        coarse = context.band(context.initial_shells + BAND_MARGIN)
        maps = [wedge_compensated_average(wedge_compensated_sums(half, coarse), coarse) for half in halves]
        body = find_body(maps, -shift, context.mask_radius_voxels)
        if body is not None:
            shift = -torch.from_numpy(body.centre).to(places)
            extent = body.extent * context.voxel_size
    shift = shift[None] * context.free_axes.to(places)
    return Poses(torch.eye(3, device=places.device, dtype=places.dtype)[None], shift), extent


def _result(
    context: AlignmentContext, halves: list[HalfSet], half_sets: NDArray[np.intp], average: Tensor,
    half_maps: list[Tensor], measured: Resolution | None, extent: float,
) -> AlignmentResult:  # fmt: skip
    count = len(half_sets)
    matrices, shifts = np.zeros((count, 3, 3)), np.zeros((count, 3))
    scores, kept = np.zeros(count), np.zeros(count, dtype=bool)
    for half in halves:
        matrices[half.indices] = half.poses.matrices.double().cpu().numpy()
        shifts[half.indices] = half.poses.shifts_voxels.double().cpu().numpy()
        scores[half.indices] = half.scores.double().cpu().numpy()
        kept[half.indices] = half.kept.cpu().numpy()
    maps = [volume.float().cpu().numpy() for volume in (average, half_maps[0], half_maps[-1])]
    return AlignmentResult(
        Rotation.from_matrix(matrices), shifts, scores, kept, half_sets, maps[0], (maps[1], maps[2]),
        context.mask.cpu().numpy(),
        None if measured is None else measured.fsc,
        math.inf if measured is None else measured.at_0143,
        math.inf if measured is None else measured.at_05,
        context.voxel_size, extent,
    )  # fmt: skip
