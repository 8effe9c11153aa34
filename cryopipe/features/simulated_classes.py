"""Simulated boxes of known structures for a learner, imaged like the user's boxes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.boxes import ArrayBoxes, Boxes, voxel_size_of
from cryopipe.simulation.box_simulator import BoxOptions, BoxSimulator
from cryopipe.simulation.phantoms import Phantom

logger = logging.getLogger(__name__)

VOXEL_SIZE = 13.33
"""Angstrom, assumed for boxes that do not know theirs."""
TILT_RANGE = (-60.0, 60.0)
"""Degrees, assumed for boxes that do not know theirs."""
DISPLACEMENT = 0.5
"""Voxels; largest displacement of the simulated particles, besides which picks differ by centring."""
CROWDING = 0.05
DEFOCUS = (3.0, 6.0)
"""Micrometre."""


def scale_of(boxes: Boxes) -> tuple[float, float]:
    """Return voxel size and resolution of the structures to simulate for `boxes`, angstrom."""
    found = voxel_size_of(boxes)
    if found is None:
        logger.info("the voxel size of the boxes is unknown: %g angstrom is assumed", VOXEL_SIZE)
    voxel_size = VOXEL_SIZE if found is None else found
    return voxel_size, 2.25 * voxel_size


def largest_radius(box_size: int, voxel_size: float) -> float:
    """Return the radius in angstrom of the largest particle that can be simulated in a box of `box_size` voxels."""
    return (box_size / 2 - DISPLACEMENT) * voxel_size


def simulated_boxes(
    phantoms: Sequence[Phantom],
    boxes: Boxes,
    per_class: int,
    snr: Sequence[float],
    device: torch.device,
    seed: int,
) -> tuple[ArrayBoxes, NDArray[np.int64]]:
    """Simulate boxes of every structure with the size and tilt range of `boxes`.

    Parameters
    ----------
    phantoms
        The structures, at the voxel size of `boxes`.
    boxes
        The user's (n, z, y, x). The median of their tilt ranges is used.
    per_class
        Number of boxes per structure.
    snr
        (lowest, highest), see `BoxOptions`.
    device
        Device of the simulation.
    seed
        The same seed gives the same boxes.

    Returns
    -------
    Boxes (k * per_class, z, y, x) in half precision, mean 0 and standard deviation 1 each, and their structures (k * per_class,).

    Raises
    ------
    SimulationError
        If a structure does not fit into a box.
    """
    size, voxel_size = int(boxes.shape[-1]), phantoms[0].voxel_size
    ranges = getattr(boxes, "tilt_ranges", None)
    tilt_range = TILT_RANGE
    if ranges is not None and len(ranges):
        # the simulator tilts about y
        tilt_range = tuple(np.median(np.asarray(ranges)[:, :2], axis=0).tolist())
    even = size + size % 2
    options = BoxOptions(
        box_size=even,
        snr=(float(snr[0]), float(snr[1])),
        tilt_range=tilt_range,
        defocus=DEFOCUS,
        displacement=DISPLACEMENT * voxel_size,
        crowding=CROWDING,
    )
    simulator = BoxSimulator(phantoms, options, device, seed)
    # The simulator makes even boxes; of an odd one the centre is voxel n // 2, too, after one voxel is cut off.
    cut = slice(even - size, None)
    # Training rounds boxes to half precision in any case.
    made = np.empty((len(phantoms), per_class, *(size,) * 3), np.float16)
    for number, mine in enumerate(made):
        mine[:] = simulator.sample([number] * per_class).boxes[:, cut, cut, cut].cpu().numpy()
    labels = np.repeat(np.arange(len(phantoms)), per_class)
    boxes_of_all: Any = made.reshape(-1, *(size,) * 3)
    return ArrayBoxes(boxes_of_all, tilt_range, voxel_size), labels
