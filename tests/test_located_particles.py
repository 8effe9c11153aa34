from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import VOXEL, Planted, planted_tomogram

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_particles, fsc_blocks, locate_particles
from cryopipe.averaging.body import find_body
from cryopipe.averaging.doubles import count_doubles, mark_doubles, without_doubles
from cryopipe.box_extraction import write_subtomograms
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles, write_particles
from cryopipe.particles import positions_of_table
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram
from cryopipe.volume.masks import radius_grid

BOXES = SubtomogramOptions(box_size=24, voxel_size=VOXEL)
OPTIONS = AveragingOptions(initial_models=1, initial_iterations=9, initial_resolution=80, max_shift=80)
HERE = torch.zeros(3)


def halves(volume: np.ndarray, noise: float, seed: int = 1) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(volume + rng.normal(0, noise, volume.shape)) for _ in range(2)]


def ball(box: int, centre_xyz: tuple[float, float, float], radius: float) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(box) - box // 2] * 3, indexing="ij")
    distance = np.sqrt((x - centre_xyz[0]) ** 2 + (y - centre_xyz[1]) ** 2 + (z - centre_xyz[2]) ** 2)
    return 1 / (1 + np.exp(2 * (distance - radius)))


@pytest.mark.parametrize("first_radius", [3.0, 6.0, 12.0])
def test_the_body_is_found_from_one_of_its_parts(first_radius: float) -> None:
    body = find_body(halves(ball(36, (4, -3, 2), 8), 0.05), HERE, first_radius)
    assert body is not None
    np.testing.assert_allclose(body.centre, (4, -3, 2), atol=0.25)
    assert body.extent == pytest.approx(2 * 8 * 0.8 ** (1 / 3), rel=0.05)


def test_a_hollow_body_has_its_centre_inside() -> None:
    shell = ball(36, (4, 0, 0), 8) - ball(36, (4, 0, 0), 6)
    body = find_body(halves(shell, 0.03), HERE, 7.0)
    assert body is not None
    np.testing.assert_allclose(body.centre, (4, 0, 0), atol=0.3)


def test_a_neighbour_is_not_part_of_the_body() -> None:
    pair = ball(40, (1, 0, 0), 5) + ball(40, (14, 0, 0), 5)
    body = find_body(halves(pair, 0.05), HERE, 7.0)
    assert body is not None
    np.testing.assert_allclose(body.centre, (1, 0, 0), atol=0.3)


def test_noise_and_half_maps_that_disagree_have_no_body(caplog: pytest.LogCaptureFixture) -> None:
    assert find_body([torch.zeros(20, 20, 20)] * 2, HERE, 6.0) is None
    apart = [torch.from_numpy(ball(36, (x, 0, 0), 4)) for x in (-4, 4)]
    assert find_body(apart, HERE, 10.0) is None
    assert "not recentred" in caplog.text


def write_planted(planted: Planted, folder: Path) -> Tomogram:
    write_volume(folder / "a.mrc", planted.volume, VOXEL)
    return Tomogram("a", str(folder / "a.mrc"), VOXEL, contrast="bright")


def test_boxes_are_cut_where_the_particles_are(tmp_path: Path) -> None:
    planted = planted_tomogram(1, 0.0, 0.0, (2, 2, 1))
    row = write_planted(planted, tmp_path)
    shifts = planted.centres[planted.owners] - positions_of_table(planted.picks)
    centred = planted.picks.assign(**dict(zip(columns.ORIGINS, -shifts.T, strict=True)))
    centred.loc[3, columns.ORIGINS[0]] = 1e4  # far outside the tomogram
    cut = write_subtomograms(tmp_path / "a.h5", row, centred, BOXES, 0)
    cut = cut.set_index(columns.PARTICLE).loc[centred[columns.PARTICLE]].reset_index()
    np.testing.assert_allclose(positions_of_table(cut)[:3], planted.centres[:3], atol=1e-6)
    assert positions_of_table(cut)[3, 0] == pytest.approx(0, abs=1e-6)
    # the box of a particle at its exact centre, from picks at whole-number coordinates or not
    direct = planted.picks.assign(
        **dict(zip(columns.COORDINATES, planted.centres.T / VOXEL, strict=True))
    ).iloc[:3]
    write_subtomograms(tmp_path / "b.h5", row, direct, BOXES, 0)
    first, second = BoxStack([tmp_path / "a.h5"]), BoxStack([tmp_path / "b.h5"])
    for name in direct[columns.PARTICLE]:
        difference = first[first.names.index(name)] - second[second.names.index(name)]
        inner = radius_grid(24).numpy() < 6
        assert np.abs(difference[inner]).max() < 0.05


@pytest.mark.slow
def test_particles_picked_on_their_parts_are_each_found_once_at_their_centres(tmp_path: Path) -> None:
    planted = planted_tomogram(1, 0.2, 0.5, (6, 6, 1))
    row, owner = (
        write_planted(planted, tmp_path),
        dict(zip(planted.picks[columns.PARTICLE], planted.owners, strict=True)),
    )

    def errors(table) -> np.ndarray:
        owners = [owner[name] for name in table[columns.PARTICLE]]
        return np.linalg.norm(positions_of_table(table) - planted.centres[owners], axis=1)

    picks = write_subtomograms(tmp_path / "a.h5", row, planted.picks, BOXES, 0).assign(**{columns.CLASS: 1})
    assert np.median(errors(picks)) > 60
    located = locate_particles(BoxStack([tmp_path / "a.h5"]), picks, OPTIONS, 1)
    marked = mark_doubles(located, 0.5)
    kept = without_doubles(marked)
    assert count_doubles(marked) == {1: len(picks) - 36}
    assert sorted(owner[name] for name in kept[columns.PARTICLE]) == list(range(36))
    cut = write_subtomograms(tmp_path / "b.h5", row, kept, BOXES, 0)
    _, aligned = align_particles(BoxStack([tmp_path / "b.h5"]), cut, OPTIONS, 1, centred=True)
    assert np.median(errors(aligned)) < 10


def test_a_cluster_of_doubles_has_an_empty_average(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    planted = planted_tomogram(1, 0.0, 0.0, (2, 2, 1))
    row = write_planted(planted, tmp_path)
    cut = write_subtomograms(tmp_path / "a.h5", row, planted.picks.assign(**{columns.CLASS: 1}), BOXES, 0)
    caplog.set_level(logging.WARNING)
    result, table = align_particles(BoxStack([tmp_path / "a.h5"]), cut.iloc[:0], OPTIONS, 1, centred=True)
    assert not result.average.any()
    assert fsc_blocks(result, "C1")["general"]["cryopipeParticles"] == 0
    write_particles(tmp_path / "cluster_01.star", table)
    again = read_particles(tmp_path / "cluster_01.star")
    assert len(again) == 0
    assert {columns.ALIGNMENT_KEPT, *columns.ANGLES} <= set(again.columns)
    assert "the cluster has no particles: its average is empty" in caplog.text
