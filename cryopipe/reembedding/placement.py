"""Placement of templates in the density and label volumes of a tomogram."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.particles import FloatArray, poses_of_table
from cryopipe.progress import Progress
from cryopipe.reembedding.templates import Template
from cryopipe.volume.windows import overlap_windows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reembedded:
    """A tomogram's volumes with placed averages.

    Attributes
    ----------
    density
        (z, y, x) float32; the larger value where structures overlap.
    labels
        (z, y, x) int16 cluster numbers, 0 where there is no particle; that of the particle with the better score
        where structures overlap.
    placements
        One row per particle in the order of the input: particle, cluster, score, voxels (of its structure inside the
        tomogram), lost_voxels (of these, labelled as particles with better scores), outside_voxels.
    """

    density: NDArray[np.float32]
    labels: NDArray[np.int16]
    placements: pd.DataFrame


def reembed(
    shape_zyx: tuple[int, int, int],
    templates: Mapping[int, Template],
    table: pd.DataFrame,
    what: str = "re-embedding",
) -> Reembedded:
    """Place every particle's average at its position and orientation, with sub-voxel precision.

    Particles are placed in the order of decreasing score; where structures overlap, labels are those of the first
    particle, and the voxels lost by the others are counted.

    Parameters
    ----------
    shape_zyx
        Shape of the tomogram.
    templates
        By cluster number, at the tomogram's voxel size.
    table
        Particles of this tomogram with poses and class numbers; alignment scores determine the order.
    what
        Name in progress messages.
    """
    positions, rotations = poses_of_table(table)
    clusters = table[columns.CLASS].to_numpy(dtype=np.int64)
    scores = _scores(table)
    density = np.zeros(shape_zyx, dtype=np.float32)
    labels = np.zeros(shape_zyx, dtype=np.int16)
    counts = np.zeros((len(table), 3), dtype=np.int64)
    order = np.argsort(-scores, kind="stable")
    counter = Progress(len(table), "particles", what)
    for row in order:
        whole = np.rint(positions[row])
        template = templates[int(clusters[row])]
        box = template.spline.rotated(rotations[int(row)], positions[row] - whole)
        counts[row] = _place(density, labels, box, whole.astype(np.int64), template.level, int(clusters[row]))
        counter.advance()
    if counts[:, 1].any():
        logger.info(
            "%s: %d of %d particles overlap particles with better scores, which keep %d of %d voxels",
            *(what, (counts[:, 1] > 0).sum(), len(table), counts[:, 1].sum(), counts[:, 0].sum()),
        )
    placements = pd.DataFrame(
        {
            "particle": table[columns.PARTICLE].astype(str).to_numpy(),
            "cluster": clusters,
            "score": scores,
            "voxels": counts[:, 0],
            "lost_voxels": counts[:, 1],
            "outside_voxels": counts[:, 2],
        }
    )
    return Reembedded(density, labels, placements)


def _scores(table: pd.DataFrame) -> FloatArray:
    for name in (columns.ALIGNMENT_SCORE, columns.POSTERIOR):
        if name in table:
            return table[name].to_numpy(dtype=np.float64)
    return np.zeros(len(table))


def _place(
    density: NDArray[np.float32],
    labels: NDArray[np.int16],
    box: NDArray[np.float32],
    centre_xyz: NDArray[np.int64],
    level: float,
    label: int,
) -> tuple[int, int, int]:
    """Write one rotated template into the volumes; return the numbers of its voxels inside, lost and outside."""
    low = centre_xyz[::-1] - np.array(box.shape) // 2
    target, source = overlap_windows(low, box.shape, density.shape)
    total = int((box > level).sum())
    np.maximum(density[target], box[source], out=density[target])
    structure = box[source] > level
    free = labels[target] == 0
    labels[target][structure & free] = label
    inside = int(structure.sum())
    return inside, int((structure & ~free).sum()), total - inside
