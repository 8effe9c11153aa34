"""Alignment of a cluster's boxes without a template, in two half-sets that never see each other."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryopipe.averaging.averages import fsc_weighted, wedge_compensated_average, wedge_compensated_sums
from cryopipe.averaging.context import AlignmentContext
from cryopipe.averaging.fourier_band import Band
from cryopipe.averaging.halfset import HalfSet, initial_half_set
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.resolution import Resolution, measure_resolution
from cryopipe.averaging.search import Grid, Poses
from cryopipe.averaging.spectra import Spectra
from cryopipe.averaging.superposition import common_frame, transform_poses, turned
from cryopipe.boxes import Boxes
from cryopipe.volume.fsc import FSC, CorrectedFSC, fourier_shell_correlation, resolution_at

logger = logging.getLogger(__name__)

FEWEST_FOR_FSC = 10
"""Boxes below which two half-maps say nothing: aligning them to each other would make their correlation."""
ROUNDS = 3
"""Steps of local refinement of every box per round."""
BAND_MARGIN = 3
"""Shells beyond the present resolution that take part, so that it can grow."""


@dataclass(frozen=True)
class AlignmentResult:
    """The aligned boxes of a cluster and their average.

    Attributes
    ----------
    rotations
        n rotations, average to particle.
    shifts_voxels
        (n, 3) x, y, z: the particle's centre sits at the box's centre plus this.
    scores
        (n,) correlation with the own half-set's map where the box was measured, -1 to 1.
    kept
        (n,) whether the box is in the average.
    half_sets
        (n,) 1 or 2.
    average
        (z, y, x), filtered by what the half-maps agree on.
    half_maps
        Two unfiltered (z, y, x) maps in one frame, or one copied where there is one box.
    mask
        (z, y, x) that the correlation used.
    fsc
        None where there are too few boxes to measure it.
    resolution_0143, resolution_05
        Angstrom; infinite where not measured, and where the half-maps agree no better than noise.
    voxel_size
        Angstrom.
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


def align_cluster(
    boxes: Boxes, tilt_ranges: NDArray[np.float64], voxel_size: float, options: AveragingOptions, seed: int,
    device: torch.device | None = None,
) -> AlignmentResult:  # fmt: skip
    """Align boxes from the data alone and average them.

    Parameters
    ----------
    boxes
        (n, z, y, x) cubes, particles bright; an array or anything that hands out boxes by index.
    tilt_ranges
        (n, 2) lowest and highest tilt of each box's tomogram, degrees.
    voxel_size
        Angstrom.
    options
        See `AveragingOptions`.
    seed
        The same seed gives the same result.
    device
        Where to compute; the processor by default.

    Returns
    -------
    Poses, half-maps, average and resolution. Fewer than ten boxes are averaged without a resolution.
    """
    spectra = Spectra(boxes, tilt_ranges, device or torch.device("cpu"))
    context = AlignmentContext(spectra.box_size, voxel_size, options, spectra.device)
    rng = np.random.default_rng(seed)
    half_sets = _half_sets(len(spectra), rng)
    halves = [
        initial_half_set(context, spectra, np.flatnonzero(half_sets == number), int(number), rng)
        for number in np.unique(half_sets)
    ]
    search = context.exhaustive_search(options.angular_step)
    # Again once the maps are finer: a box that went astray at low resolution can return.
    return _refine(context, halves, half_sets, [search, search], seed)


def refine(
    boxes: Boxes, tilt_ranges: NDArray[np.float64], voxel_size: float, options: AveragingOptions, seed: int,
    rotations: Rotation, shifts_voxels: NDArray[np.float64], half_sets: NDArray[np.intp],
    device: torch.device | None = None,
) -> AlignmentResult:  # fmt: skip
    """Refine given poses, as those of the same particles in coarser boxes.

    Parameters
    ----------
    boxes, tilt_ranges, voxel_size, options, seed, device
        As for `align_cluster`.
    rotations, shifts_voxels
        Where to begin; shifts in voxels of these boxes.
    half_sets
        (n,) 1 or 2; kept.
    """
    spectra = Spectra(boxes, tilt_ranges, device or torch.device("cpu"))
    context = AlignmentContext(spectra.box_size, voxel_size, options, spectra.device)
    matrices = torch.from_numpy(rotations.as_matrix()).to(context.mask)
    poses = Poses(matrices, torch.from_numpy(np.asarray(shifts_voxels)).to(context.mask))
    band = context.band(context.start_shells)
    halves = []
    for number in np.unique(half_sets):
        indices = np.flatnonzero(half_sets == number)
        half = HalfSet(spectra, indices, context.mask * 0, context, int(number))
        half.set_poses(poses.chosen(torch.from_numpy(indices)))
        half.volume = (
            band.volume_from_sums(half.improve(band, None, 0), context.no_prior(band)) * context.mask
        )
        halves.append(half)
    return _refine(context, halves, np.asarray(half_sets), [], seed)


def _half_sets(count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return 1 or 2 for every box, evenly and at random."""
    numbers = np.arange(count) % 2 + 1
    return rng.permutation(numbers) if count > 1 else numbers


def _refine(
    context: AlignmentContext,
    halves: list[HalfSet],
    half_sets: NDArray[np.intp],
    searches: list[Grid | None],
    seed: int,
) -> AlignmentResult:
    """Refine both halves, from band to finer band, and bring them to one frame at the end.

    The rounds try the poses of `searches` in turn, and after these only what lies near the present poses. Of large
    halves a part goes through the rounds, and its map then gives all boxes their poses.
    """
    rng = np.random.default_rng(seed)
    wholes = halves
    halves = [whole.part(context.options.refinement_boxes, rng) for whole in wholes]
    band, frame, resolution = context.band(context.start_shells), None, math.inf
    measurable = len(halves) == 2 and len(half_sets) >= FEWEST_FOR_FSC
    for number in range(context.options.refinement_iterations):
        search = searches[number] if number < len(searches) else None
        sums = [half.improve(band, search, ROUNDS) for half in halves]
        if not measurable:
            for half, s in zip(halves, sums, strict=True):
                half.volume = band.volume_from_sums(s, context.no_prior(band)) * context.mask
            continue
        frame, correlation = _agreement(context, band, sums, frame)
        for half, s in zip(halves, sums, strict=True):
            half.volume = band.volume_from_sums(s, _noise_to_signal(correlation, band)) * context.mask
            half.leave_out(context.options.outlier_deviations)
        before, resolution = resolution, resolution_at(correlation, 0.143)
        logger.info(
            "round %d, band to %.1f A: the half-maps agree to %.1f A",
            number + 1,
            context.extent / band.shells,
            resolution,
        )
        shells = max(context.shell_of(resolution), context.start_shells) + BAND_MARGIN
        finer = context.band(min(context.last_shell, shells))
        settled = resolution > 0.995 * before and finer.shells <= band.shells
        if settled and number >= len(searches) + 1:
            break
        band = finer
    for whole, part in zip(wholes, halves, strict=True):
        if part is not whole:
            search = searches[0] if searches else None
            middle = context.band(min(band.shells, context.start_shells + BAND_MARGIN))
            whole.follow(part, search, middle, band, ROUNDS)
            whole.leave_out(context.options.outlier_deviations)
    return _finish(context, wholes, half_sets, frame, seed)


def _agreement(
    context: AlignmentContext, band: Band, sums: list[Tensor], frame: Poses | None
) -> tuple[Poses, FSC]:
    """Return the frame between the halves' maps and how far they agree in it; neither half learns of the other."""
    volumes = [band.volume_from_sums(s, context.no_prior(band)) * context.mask for s in sums]
    frame, _ = common_frame(volumes[0], volumes[1], band, frame, context.max_shift_voxels)
    fsc = fourier_shell_correlation(volumes[0], turned(volumes[1], frame), context.voxel_size)
    fsc.correlation[band.shells + 1 :] = 0  # nothing was summed there
    return frame, fsc


def _noise_to_signal(fsc: FSC, band: Band) -> Tensor:
    """Return (1 - FSC) / FSC per shell: what a half-map holds of noise for its signal."""
    clipped = np.clip(fsc.correlation[: band.shells + 1], 0.01, 0.999)
    ratio = torch.from_numpy((1 - clipped) / clipped).float().to(band.device)
    padded = ratio.new_full((band.shells + 1,), 99.0)
    padded[: len(ratio)] = ratio
    return padded


def _finish(
    context: AlignmentContext,
    halves: list[HalfSet],
    half_sets: NDArray[np.intp],
    frame: Poses | None,
    seed: int,
) -> AlignmentResult:
    """Bring half 2 to the frame of half 1, average, and measure the resolution."""
    coarse, reach = context.band(context.start_shells), context.max_shift_voxels
    if len(halves) == 2:
        if frame is None:
            frame, _ = common_frame(halves[0].volume, halves[1].volume, coarse, None, reach)
        halves[1].set_poses(transform_poses(halves[1].poses, frame))
    centred = _centred_frame(context, halves)
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
    return _result(context, halves, half_sets, average, half_maps, measured)


def _centred_frame(context: AlignmentContext, halves: list[HalfSet]) -> Poses:
    """Return the frame whose centre is where the boxes' centres lie on average.

    Alignment leaves the average's centre open: with a neighbour in the mask it ends somewhere between the two. The
    centres of the boxes err to all sides of the particle's, so that their mean tells it.
    """
    back = [half.poses.matrices.transpose(1, 2) @ half.poses.shifts_voxels[:, :, None] for half in halves]
    kept = torch.cat([half.kept for half in halves])
    places = torch.cat(back)[..., 0]
    chosen = places[kept] if bool(kept.any()) else places
    shift = chosen.mean(dim=0, keepdim=True) * context.free_axes.to(places)
    return Poses(torch.eye(3, device=places.device, dtype=places.dtype)[None], shift)


def _result(
    context: AlignmentContext, halves: list[HalfSet], half_sets: NDArray[np.intp], average: Tensor,
    half_maps: list[Tensor], measured: Resolution | None,
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
        context.voxel_size,
    )  # fmt: skip
