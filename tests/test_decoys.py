"""Decoys are picked like noise in the tomogram and never on particles, and their boxes are those of their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import ks_2samp

from cryopipe import columns
from cryopipe.evidence.decoy_boxes import decoys_of_tomogram, write_decoys
from cryopipe.evidence.options import EvidenceOptions, fewest_decoys
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.picking import PickOptions, pick_particles, pick_tomogram
from cryopipe.picking.decoys import INVERTED, RANDOM, pick_decoys
from cryopipe.picking.pick import Picks
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram
from tests.test_pick_sizes import plant

SHAPE = (48, 140, 140)
PICKING = PickOptions(diameters=[110.0])


def coloured_noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(SHAPE, np.float32) + 4 * gaussian_filter(
        rng.standard_normal(SHAPE, np.float32), 1.2
    )


def test_decoys_of_noise_have_the_scores_of_picked_noise() -> None:
    volume = coloured_noise(1)
    picks = pick_particles(volume, 10.0, PICKING, "dark")
    sets = pick_decoys(volume, 10.0, PICKING, "dark", picks, 60, seed=1)
    scores = np.concatenate([one.picks.scores for one in sets])
    assert len(scores) == 60
    assert sum(len(one.picks) for one in sets if one.origin == INVERTED) == 30
    assert ks_2samp(scores, picks.scores).pvalue > 0.01
    assert scores.min() >= picks.scores.min()


def test_decoys_lie_neither_on_particles_nor_on_their_fringes() -> None:
    centres = [(240.0, 250.0 + 450 * row, 250.0 + 450 * column) for row in range(3) for column in range(3)]
    volume = -plant(SHAPE, [(centre, 160.0, 2.0) for centre in centres], 1.0, 1)
    options = PickOptions(diameters=[160.0])
    picks = pick_particles(volume, 10.0, options, "dark")
    sets = pick_decoys(volume, 10.0, options, "dark", picks, 40, seed=1)
    inverted = [one for one in sets if one.origin == INVERTED]
    assert len(inverted) == 1
    assert inverted[0].contrast == "bright"
    places = inverted[0].picks.coordinates * 10
    apart = np.linalg.norm(places[:, None] - np.array(centres)[None, :, ::-1], axis=2)
    assert apart.min() > 0.8 * 160
    scores = np.concatenate([one.picks.scores for one in sets])
    assert scores.max() < 0.6 * picks.scores.max()


def test_boxes_of_decoys_are_cut_in_the_volume_in_which_they_were_picked(tmp_path: Path) -> None:
    volume = coloured_noise(2)
    write_volume(tmp_path / "a.mrc", volume, 10.0)
    tomogram = Tomogram("a", str(tmp_path / "a.mrc"), contrast="bright")
    opened = open_tomogram(tomogram)
    picks = pick_tomogram(tomogram, opened, PICKING)
    sets = decoys_of_tomogram(
        tomogram, opened, picks, PICKING, EvidenceOptions(decoys=True, decoys_per_tomogram=20), 1
    )
    size = SubtomogramOptions(box_size=16, voxel_size=10.0)
    paths = (tmp_path / "boxes.h5", tmp_path / "averaging.h5")
    table = write_decoys(paths, tomogram, 10.0, sets, (size, size), "limit", {}, 1)
    boxes = BoxStack([paths[0]])
    assert len(boxes) == len(table) == 20
    assert boxes.names == table[columns.PARTICLE].tolist()
    assert boxes.names == BoxStack([paths[1]]).names
    assert set(table[columns.DECOY]) == {INVERTED, RANDOM}
    # a blob of the picking filter is in the middle of every box, bright as in particles
    middle = boxes[:][:, 6:11, 6:11, 6:11].mean(axis=(1, 2, 3))
    assert (middle > 0.15).mean() > 0.9
    # the volume with random phases is periodic in x and y: no box is cut off there
    inverted = table[table[columns.DECOY] == INVERTED].iloc[0]
    x, y, z = np.rint(inverted[list(columns.COORDINATES)].to_numpy(float)).astype(int)
    assert volume[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2].mean() < volume.mean()


def test_without_particles_there_are_no_decoys(tmp_path: Path) -> None:
    tomogram = Tomogram("a", "a.mrc")
    nothing = pick_tomogram(tomogram, None, PICKING)
    assert decoys_of_tomogram(tomogram, None, nothing, PICKING, EvidenceOptions(decoys=True), 1) == []
    size = SubtomogramOptions(box_size=16, voxel_size=10.0)
    paths = (tmp_path / "boxes.h5", tmp_path / "averaging.h5")
    table = write_decoys(paths, tomogram, 1.0, [], (size, size), "limit", {}, 1)
    assert len(table) == len(BoxStack([paths[0]])) == 0
    assert {columns.DECOY, columns.CTF_LIMIT, columns.PARTICLE} <= set(table)


@pytest.mark.parametrize("most", [10, 25])
def test_there_are_no_more_decoys_than_allowed(most: int) -> None:
    volume = coloured_noise(3)
    picks = pick_particles(volume, 10.0, PICKING, "dark")
    sets = pick_decoys(volume, 10.0, PICKING, "dark", picks, most, seed=2)
    assert sum(len(one.picks) for one in sets) == most


def test_a_small_tomogram_has_more_decoys_than_particles() -> None:
    """Three particles above all noise: their scores are reached by no decoy, and the highest scores of noise are taken."""
    centres = [(240.0, 400.0, 250.0 + 450 * column) for column in range(3)]
    volume = plant(SHAPE, [(centre, 110.0, 3.0) for centre in centres], 1.0, 1)
    picks = pick_particles(volume, 10.0, PICKING, "bright")
    certain = Picks(picks.coordinates[:3], picks.scores[:3], picks.diameters[:3])
    assert certain.scores.min() > 8
    sets = pick_decoys(volume, 10.0, PICKING, "bright", certain, fewest_decoys(1), seed=1)
    scores = np.concatenate([one.picks.scores for one in sets])
    assert len(scores) == 150
    assert 3 <= scores.min() < scores.max() < certain.scores.min()
    candidates = np.concatenate([one.picks.scores for one in pick_decoys(
        volume, 10.0, PICKING, "bright", certain, 40, seed=1)])  # fmt: skip
    assert candidates.min() > scores.min()
