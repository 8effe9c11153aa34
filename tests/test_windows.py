"""Boxes that lie in part beyond a volume."""

from __future__ import annotations

import itertools

import numpy as np

from cryopipe.boxes import ShiftedBoxes
from cryopipe.volume.windows import overlap_windows


def test_the_overlap_is_what_a_padded_volume_shows() -> None:
    volume = np.arange(1, 4 * 5 * 6 + 1).reshape(4, 5, 6)
    padded = np.pad(volume, 9)
    for low in itertools.product((-8, -2, 0, 3, 7), repeat=3):
        box = np.zeros((3, 4, 2), int)
        source, target = overlap_windows(np.array(low), box.shape, volume.shape)
        box[target] = volume[source]
        z, y, x = np.array(low) + 9
        np.testing.assert_array_equal(box, padded[z : z + 3, y : y + 4, x : x + 2])


def test_a_box_shifted_out_of_itself_is_all_noise() -> None:
    boxes = np.full((2, 4, 4, 4), 99.0, np.float32)
    shifted = ShiftedBoxes(boxes, np.array([[5, 0, 0], [0, -1, 3]]))[:]
    assert abs(shifted[0]).max() < 6
    assert (shifted[1] == 99).sum() == 4 * 3 * 1
    assert (shifted[1][:1, 1:] == 99).all()
