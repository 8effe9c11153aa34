"""Templates written into a tomogram's volumes, particle by particle."""

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

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reembedded:
    """A tomogram filled with averages.

    Attributes
    ----------
    density
        (z, y, x) float32; where structures overlap, the larger value.
    labels
        (z, y, x) int16 cluster numbers, 0 where there is none; where structures overlap, that of the
        particle with the better score.
    placements
        One row per particle in the order of the input: particle, cluster, score, voxels (of its structure inside the
        tomogram), lost_voxels (of these, taken by particles with better scores), outside_voxels.
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
    """Place every particle's average at its position and orientation, to a fraction of a voxel.

    Particles are placed by falling score, and the first one keeps a voxel of the labels that two
    structures claim; what the others lose is counted.

    Parameters
    ----------
    shape_zyx
        Of the tomogram.
    templates
        By cluster number, at the tomogram's voxel size.
    table
        Particles of this tomogram with poses, class number and, for the order, alignment scores.
    what
        For the progress messages.
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
        box = template.turned(rotations[int(row)], positions[row] - whole)
        counts[row] = _place(density, labels, box, whole.astype(np.int64), template.level, int(clusters[row]))
        counter.advance()
    if counts[:, 1].any():
        logger.info(
            "%s: %d of %d particles lose %d of %d voxels to particles with better scores",
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
    """Write one turned template into the volumes; return its voxels inside, lost and outside."""
    low = centre_xyz[::-1] - np.array(box.shape) // 2
    begin = np.clip(-low, 0, box.shape)
    end = np.clip(np.array(density.shape) - low, 0, box.shape)
    total = int((box > level).sum())
    if (end <= begin).any():
        return 0, 0, total
    source = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
    target = tuple(slice(b + o, e + o) for b, e, o in zip(begin, end, low, strict=True))
    np.maximum(density[target], box[source], out=density[target])
    structure = box[source] > level
    free = labels[target] == 0
    labels[target][structure & free] = label
    inside = int(structure.sum())
    return inside, int((structure & ~free).sum()), total - inside
