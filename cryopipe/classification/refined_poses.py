"""Comparison of boxes with maps in poses that are refined beyond the grid of the search.

Two maps of one structure in different orientations cover the poses more finely than one map on the same grid, and so
describe boxes better though there is one structure. In refined poses they have no such advantage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryopipe.alignment.search import Grid, Poses, Reference, best_on_grid, refine_poses
from cryopipe.alignment.spectra import batches
from cryopipe.classification.band_boxes import BandBoxes
from cryopipe.classification.class_maps import ClassMaps
from cryopipe.classification.expectation import integrated_amplitude

REFINEMENTS = 4
"""Gauss-Newton steps of every box."""


@dataclass(frozen=True)
class RefinedRound:
    """Log-likelihoods (n, C) of the boxes in their best poses, 0 where not compared, and sums as of `Expectation`."""

    log_likelihoods: Tensor
    sums: Tensor


def refined_round(
    boxes: BandBoxes, maps: ClassMaps, noise: Tensor, search: Grid, weights: Tensor
) -> RefinedRound:
    """Align every box to the maps it has a weight for, and sum the aligned boxes.

    Parameters
    ----------
    boxes
        n boxes; each is compared with maps without its own fold.
    maps
        C maps.
    noise
        (shells + 1,) standard deviation.
    search
        Rotations and shifts from which poses are refined.
    weights
        (n, C) weights of the boxes in the sums; with a weight of 0, box and map are not compared.
    """
    band, deviation = boxes.band, noise[boxes.band.shell]
    log_likelihoods = torch.zeros_like(weights)
    sums = torch.zeros(len(maps), boxes.fold_count, *band.empty_sums().shape, device=band.device)
    limit = float(search.shifts_voxels.norm(dim=1).max()) + 1.0
    each = len(band) * (400 + 16 * len(search.shifts_voxels))
    for number in range(len(maps)):
        for fold in range(boxes.fold_count):
            chosen = (boxes.folds == fold) & (weights[:, number] > 0)
            members = torch.nonzero(chosen)[:, 0].cpu().numpy()
            reference = Reference(
                band, band.reference_grid(maps.filtered_one(number, fold), gradient=True), deviation
            )
            for part in batches(np.asarray(members), each):
                rows = torch.from_numpy(part).to(band.device)
                raw, schemes = boxes.coefficients[rows], boxes.schemes[rows]
                scaled, measured = raw / deviation, boxes.wedges[schemes]
                found = best_on_grid(scaled, schemes, boxes.wedges, reference, search)
                poses, _ = refine_poses(scaled, measured, reference, found, limit, REFINEMENTS)
                value, amplitude = _likelihood(scaled, measured, reference, poses)
                log_likelihoods[rows, number] = value
                scale = (amplitude * weights[rows, number])[:, None]
                back = raw * band.shift_phases(-poses.shifts_voxels) * scale
                weight = measured * scale * amplitude[:, None]
                band.interpolation_sums(back, weight, poses.matrices, sums[number, fold])
    return RefinedRound(log_likelihoods, sums)


def _likelihood(
    scaled: Tensor, measured: Tensor, reference: Reference, poses: Poses
) -> tuple[Tensor, Tensor]:
    """Return the (B,) log-likelihoods of boxes in these poses, integrated over the amplitude, and its mean."""
    model = reference.at(poses) * measured
    return integrated_amplitude((scaled.conj() * model).real.sum(dim=1), (model.abs() ** 2).sum(dim=1))
