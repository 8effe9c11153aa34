"""Picking: planted particles are found where they are, whatever the chunks, the contrast, the beads."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter
from scipy.spatial import cKDTree

from cryopipe import columns
from cryopipe.columns import COORDINATES
from cryopipe.errors import DataError
from cryopipe.evaluation.point_matching import match_points
from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.opening import OpenTomogram
from cryopipe.files.star import read_particles
from cryopipe.picking import PickOptions, Picks, pick_particles, pick_tomogram
from cryopipe.picking.blobs import Scale, sigmas_for
from cryopipe.picking.peaks import REACH, find_peaks, refine, robust_statistics
from cryopipe.tomograms import Tomogram
from cryopipe.volume.suppression import suppress

VOXEL = 10.0
DIAMETER = 120.0
SHAPE = (44, 60, 76)
# x, y, z, voxels
CENTRES = np.array(
    [[12.3, 14.1, 11.7], [38.0, 15.5, 22.4], [63.4, 12.8, 31.9], [15.6, 44.2, 30.5], [40.7, 45.9, 12.2], [62.1, 43.3, 20.0]]
)  # fmt: skip
OPTIONS = PickOptions(diameters=[DIAMETER], threshold=8.0)


def balls(
    shape: tuple[int, ...],
    centres: NDArray[np.float64],
    diameters: object,
    axes: tuple[float, ...] = (1, 1, 1),
) -> NDArray[np.float64]:
    """Plant balls (or ellipsoids, by the factors `axes` x, y, z) of diameters in voxels, smooth at the surface."""
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    density = np.zeros(shape)
    for centre, diameter in zip(
        centres, np.broadcast_to(np.asarray(diameters, float), len(centres)), strict=True
    ):
        radius = np.sqrt(sum(((a - c) / f) ** 2 for a, c, f in zip((x, y, z), centre, axes, strict=True)))
        density += 1 / (1 + np.exp(2 * (radius - diameter / 2)))
    return density


def noise(shape: tuple[int, ...], deviation: float = 0.5, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, deviation, shape)


@pytest.fixture(scope="module")
def planted() -> NDArray[np.float32]:
    """Six bright balls in noise; signal 1, noise of deviation 0.5 a voxel."""
    return (balls(SHAPE, CENTRES, DIAMETER / VOXEL) + noise(SHAPE)).astype(np.float32)


def match(found: NDArray[np.float64], truth: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Index of the found point for every true one, all within `radius` and no point twice."""
    distance, index = cKDTree(found).query(truth)
    assert distance.max() < radius
    assert len(set(index)) == len(truth)
    return index


def same(first: Picks, second: Picks) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("coordinates", "scores", "diameters")
    )


def test_planted_particles_are_found_between_the_voxels(planted: NDArray[np.float32]) -> None:
    picks = pick_particles(planted, VOXEL, OPTIONS, "bright")
    assert len(picks) == len(CENTRES)
    index = match(picks.coordinates, CENTRES, 0.7)
    # without noise the centres are met to a tenth of a voxel
    assert np.abs(picks.coordinates[index] - CENTRES).mean() < 0.2
    assert (np.diff(picks.scores) <= 0).all()
    assert set(picks.diameters) == {DIAMETER}


def test_positions_are_exact_without_noise() -> None:
    volume = balls(SHAPE, CENTRES, DIAMETER / VOXEL) + noise(SHAPE, 1e-3)
    options = PickOptions(diameters=[DIAMETER], threshold=8.0, clip=None)
    picks = pick_particles(volume, VOXEL, options, "bright")
    found = picks.coordinates[match(picks.coordinates, CENTRES, 0.5)]
    np.testing.assert_allclose(found, CENTRES, atol=0.07)


def direct_scores(volume: NDArray[np.float64], diameter: float) -> NDArray[np.float64]:
    """Score every voxel with scipy's Gaussian filters; beyond the faces the wide one's mean goes on."""
    values, inside = volume - np.median(volume), np.ones(volume.shape)
    narrow, wide = sigmas_for(diameter / VOXEL)
    (first, near), (second, far) = (
        [gaussian_filter(part, sigma, mode="constant") for part in (values, inside)]
        for sigma in (narrow, wide)
    )
    response = first - second * near / far
    deviation = response - np.median(response)
    return deviation / (1.4826 * np.median(np.abs(deviation)))


@pytest.mark.parametrize(("diameter", "step"), [(60.0, 1), (80.0, 2), (120.0, 2), (170.0, 3), (240.0, 5)])
def test_picks_agree_with_the_filter_at_full_resolution(diameter: float, step: int) -> None:
    shape = (60, 80, 84)
    rng = np.random.default_rng(3)
    centres = np.array([[x, y, z] for x in (20, 62) for y in (20, 60) for z in (18, 42)]) + rng.uniform(
        -2, 2, (8, 3)
    )
    volume = 2 * balls(shape, centres, 0.6 * diameter / VOXEL) + noise(shape, 1.0, 1)
    assert Scale.for_diameter(diameter / VOXEL).step == step
    scores = direct_scores(volume, diameter)
    peaks = np.argwhere(scores == maximum_filter(scores, 3))
    heights = scores[tuple(peaks.T)]
    kept = suppress(peaks.astype(float), heights, np.full(len(peaks), diameter / VOXEL / 2))
    peaks, heights = peaks[kept], heights[kept]
    picks = pick_particles(
        volume, VOXEL, PickOptions(diameters=[diameter], threshold=2.0, clip=None), "bright"
    )
    distance, _ = cKDTree(picks.coordinates).query(peaks[:, ::-1])
    # Whole voxels against places between them. Of two maxima that all but merge, either may win.
    assert (heights > 6).sum() >= 8
    assert distance[heights > 6].max() < 1.0
    assert (distance[heights > 3] < 1.0).mean() >= 0.93
    between = map_coordinates(scores, picks.coordinates[:, ::-1].T, order=5, mode="reflect")
    inside = ((picks.coordinates > 1) & (picks.coordinates < np.array(shape)[::-1] - 2)).all(axis=1)
    high = inside & (picks.scores > 3.5)
    np.testing.assert_allclose(picks.scores[high], between[high], rtol=0.08)
    np.testing.assert_allclose(picks.scores[inside], between[inside], rtol=0.15)
    assert abs((picks.scores[inside] / between[inside]).mean() - 1) < 0.04


@settings(max_examples=8)
@given(chunk_voxels=st.integers(40_000, 400_000), masked=st.booleans())
def test_chunks_do_not_change_a_single_bit(
    planted: NDArray[np.float32], chunk_voxels: int, masked: bool
) -> None:
    options = PickOptions(diameters=[60.0, DIAMETER], threshold=2.0)
    mask = (noise(SHAPE, 1, 5) > -1).astype(np.int8) if masked else None
    whole = pick_particles(planted, VOXEL, options, "bright", mask, chunk_voxels=10**9)
    pieces = pick_particles(planted, VOXEL, options, "bright", mask, chunk_voxels=chunk_voxels)
    assert len(whole) > 20
    assert same(whole, pieces)


def test_the_number_of_cores_does_not_change_a_single_bit() -> None:
    volume = noise((50, 300, 300), 1.0, 4).astype(np.float32)
    options = PickOptions(diameters=[60.0, DIAMETER], threshold=2.5)
    before = torch.get_num_threads()
    try:
        picks = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            picks.append(pick_particles(volume, VOXEL, options, "bright", chunk_voxels=2_000_000))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(picks[0]) > 100
    assert same(*picks)


def test_the_picks_of_a_tomogram_of_the_table_use_its_contrast_mask_and_voxel_size(
    planted: NDArray[np.float32],
) -> None:
    mask = np.zeros(planted.shape, np.int8)
    mask[:, :, : planted.shape[2] // 2] = 1
    row = Tomogram("ts", "ts.mrc", 12.0, (-60, 60), "dark", "mask.mrc")
    table = pick_tomogram(row, OpenTomogram(-planted, VOXEL, mask), OPTIONS)
    picks = pick_particles(planted, VOXEL, OPTIONS, "bright", mask)
    assert len(table) == len(picks) > 0
    np.testing.assert_array_equal(table[list(COORDINATES)], picks.coordinates)
    assert set(table[columns.VOXEL_SIZE]) == {VOXEL}
    empty = pick_tomogram(row, None, OPTIONS)
    assert list(empty.columns) == list(table.columns)
    assert len(empty) == 0


def test_dark_is_bright_upside_down(planted: NDArray[np.float32]) -> None:
    assert same(
        pick_particles(planted, VOXEL, OPTIONS, "bright"), pick_particles(-planted, VOXEL, OPTIONS, "dark")
    )
    assert len(pick_particles(planted, VOXEL, OPTIONS, "dark")) == 0


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", ">i2", "float16", ">f4"])
def test_every_stored_type(planted: NDArray[np.float32], dtype: str) -> None:
    picks = pick_particles((planted * 10 + 50).astype(dtype), VOXEL, OPTIONS, "bright")
    match(picks.coordinates, CENTRES, 0.7)
    assert len(picks) == len(CENTRES)


def test_gold_beads_hide_nothing_and_reset_nothing(planted: NDArray[np.float32]) -> None:
    beads = planted.copy()
    beads[20:25, 28:33, 24:29] = 500
    beads[36:40, 20:24, 50:54] = -500
    without = pick_particles(planted, VOXEL, OPTIONS, "bright")
    picks = pick_particles(beads, VOXEL, OPTIONS, "bright")
    index = match(picks.coordinates, CENTRES, 0.7)
    reference = without.scores[match(without.coordinates, CENTRES, 0.7)]
    np.testing.assert_allclose(picks.scores[index], reference, rtol=0.15)


def test_clipping_keeps_a_bead_from_swallowing_its_neighbour(planted: NDArray[np.float32]) -> None:
    bead = planted.copy()
    bead[20:24, 16:19, 24:27] = -2000  # 12 voxels from the second ball, within reach of its filter
    clipped = pick_particles(
        bead, VOXEL, PickOptions(diameters=[DIAMETER], threshold=8.0, clip=2.0), "bright"
    )
    match(clipped.coordinates, CENTRES, 1.5)
    left = pick_particles(bead, VOXEL, PickOptions(diameters=[DIAMETER], threshold=8.0, clip=None), "bright")
    distance, _ = cKDTree(left.coordinates).query(CENTRES[1])
    assert distance > 3


def test_the_mask_says_where(planted: NDArray[np.float32]) -> None:
    mask = np.zeros(SHAPE, dtype=np.int8)
    mask[:, :30, :] = 1
    picks = pick_particles(planted, VOXEL, OPTIONS, "bright", mask)
    match(picks.coordinates, CENTRES[CENTRES[:, 1] < 30], 0.7)
    assert len(picks) == 3
    assert len(pick_particles(planted, VOXEL, OPTIONS, "bright", np.zeros(SHAPE))) == 0
    with pytest.raises(DataError) as caught:
        pick_particles(planted, VOXEL, OPTIONS, "bright", mask[:-1], name="a.mrc")
    assert str(caught.value) == (
        "a.mrc: the mask has shape (43, 60, 76) (z, y, x), but the tomogram has (44, 60, 76); "
        "use a mask with the tomogram's dimensions"
    )


def test_the_border_is_left_out(planted: NDArray[np.float32]) -> None:
    options = PickOptions(diameters=[DIAMETER], threshold=8.0, border=125.0)
    picks = pick_particles(planted, VOXEL, options, "bright")
    margin = 12.0
    inside = np.logical_and(margin <= CENTRES, CENTRES + margin <= np.array(SHAPE)[::-1] - 1).all(axis=1)
    assert 0 < inside.sum() < len(CENTRES)
    match(picks.coordinates, CENTRES[inside], 0.7)
    assert len(picks) == inside.sum()


def test_a_particle_cut_by_a_face_is_found_inside() -> None:
    centres = np.array([[0.0, 30.0, 20.0], [75.0, 30.0, 20.0], [40.0, 30.0, 43.4]])
    volume = balls(SHAPE, centres, DIAMETER / VOXEL) + noise(SHAPE, 0.3)
    picks = pick_particles(volume, VOXEL, OPTIONS, "bright")
    match(picks.coordinates, centres, 2.5)  # half a ball has its centre 3/8 of the radius further in
    assert ((picks.coordinates >= 0) & (picks.coordinates <= np.array(SHAPE)[::-1] - 1)).all()


def test_faces_do_not_attract_picks() -> None:
    """A mirror image beyond a face made maxima on it: most picks of noise lay exactly there."""
    volume = noise((50, 110, 120), 1.0, 6).astype(np.float32)
    picks = pick_particles(volume, VOXEL, PickOptions(diameters=[DIAMETER], threshold=2.0), "bright")
    distance = np.minimum(picks.coordinates, np.array(volume.shape)[::-1] - 1 - picks.coordinates).min(axis=1)
    near = 4
    inner = np.prod(np.array(volume.shape) - 2 * near) / volume.size
    assert len(picks) > 60
    assert (distance < near).mean() < 1 - inner
    assert (distance < 1e-6).mean() < 0.05


def test_count_and_distance_are_limited(planted: NDArray[np.float32]) -> None:
    best = pick_particles(
        planted, VOXEL, PickOptions(diameters=[DIAMETER], threshold=2.0, max_particles=4), "bright"
    )
    everything = pick_particles(planted, VOXEL, PickOptions(diameters=[DIAMETER], threshold=2.0), "bright")
    assert len(best) == 4
    np.testing.assert_array_equal(best.scores, everything.scores[:4])
    far = pick_particles(
        planted, VOXEL, PickOptions(diameters=[DIAMETER], threshold=1.0, minimum_distance=200.0), "bright"
    )
    assert len(far) > 3
    assert cKDTree(far.coordinates).query(far.coordinates, k=2)[0][:, 1].min() >= 20
    assert cKDTree(everything.coordinates).query(everything.coordinates, k=2)[0][:, 1].min() >= 6


def test_each_size_is_found_once_by_its_own_filter() -> None:
    diameters = np.array([60, 120, 200, 60, 120, 200]) / VOXEL
    shape = (60, 90, 110)
    centres = (
        np.array([[15, 20, 15], [45, 22, 30], [85, 28, 28], [18, 65, 40], [50, 66, 28], [86, 64, 32]]) + 0.3
    )
    volume = balls(shape, centres, diameters) + noise(shape, 0.2)
    picks = pick_particles(volume, VOXEL, PickOptions(diameters=[60, 120, 200], threshold=12.0), "bright")
    index = match(picks.coordinates, centres, 1.0)
    np.testing.assert_array_equal(picks.diameters[index], diameters * VOXEL)
    assert len(picks) == len(centres)


@pytest.mark.parametrize("axes", [(1.6, 1, 1), (1, 1.6, 1), (1, 1, 1.6), (0.6, 1, 1)])
def test_elongated_particles_are_found_at_their_centres(axes: tuple[float, ...]) -> None:
    centres = np.array([[20.2, 30.7, 14.4], [54.9, 28.3, 29.8]])
    volume = balls(SHAPE, centres, DIAMETER / VOXEL, axes) + noise(SHAPE, 0.2)
    match(pick_particles(volume, VOXEL, OPTIONS, "bright").coordinates, centres, 1.2)


def test_an_asymmetric_place_is_given_as_x_y_z() -> None:
    volume = balls(SHAPE, np.array([[60.0, 40.0, 10.0]]), 12.0) + noise(SHAPE, 0.3)
    picks = pick_particles(volume, VOXEL, OPTIONS, "bright")
    np.testing.assert_allclose(picks.coordinates, [[60, 40, 10]], atol=0.5)


@pytest.mark.parametrize("shape", [(5, 6, 7), (16, 5, 5), (6, 30, 6)])
def test_tomograms_smaller_than_the_filter(shape: tuple[int, int, int]) -> None:
    centre = np.array([[n // 2 for n in shape[::-1]]], dtype=float)
    volume = balls(shape, centre, 4.0) + noise(shape, 0.01)
    picks = pick_particles(volume, VOXEL, PickOptions(diameters=[40.0], threshold=0.5), "bright")
    assert np.linalg.norm(picks.coordinates[0] - centre[0]) < 1


def test_a_plain_holds_no_maxima() -> None:
    """Padding answers with what rounding leaves of its value; were each of its points one, memory would not do."""
    response = torch.full((20, 20, 20), 1e-9)
    assert len(find_peaks(response, 0.0)[0]) == 0
    response[10, 9, 8] = 1.0
    assert (find_peaks(response, 0.0)[0] + REACH).tolist() == [[10, 9, 8]]


def test_constant_padding_changes_neither_picks_nor_scores(planted: NDArray[np.float32]) -> None:
    padded = np.zeros((SHAPE[0], 2 * SHAPE[1], 2 * SHAPE[2]), dtype=np.float32)
    padded[:, : SHAPE[1], : SHAPE[2]] = planted
    alone = pick_particles(planted, VOXEL, OPTIONS, "bright")
    picks = pick_particles(padded, VOXEL, OPTIONS, "bright")
    index = match(picks.coordinates, CENTRES, 0.7)
    assert len(picks) == len(CENTRES)
    np.testing.assert_allclose(
        picks.scores[index], alone.scores[match(alone.coordinates, CENTRES, 0.7)], rtol=0.15
    )


def test_nothing_to_pick_is_a_state(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(pick_particles(np.full(SHAPE, 7), VOXEL, OPTIONS, "dark", name="flat")) == 0
    assert caplog.messages == ["flat: no picks, because the tomogram is constant"]
    picks = pick_particles(noise(SHAPE), VOXEL, PickOptions(diameters=[DIAMETER], threshold=50.0), "dark")
    assert picks.coordinates.shape == (0, 3)


@pytest.mark.parametrize(
    ("diameter", "message"),
    [
        (20.0, "a.mrc: pick.diameters contains 20 A, which is only 2 voxels of 10 A; "
               "set at least 37 A for this voxel size"),
        (900.0, "a.mrc: pick.diameters contains 900 A, but the tomogram's shortest edge is 440 A; "
                "set a smaller diameter, or correct the voxel size"),
    ],
)  # fmt: skip
def test_impossible_diameters(planted: NDArray[np.float32], diameter: float, message: str) -> None:
    with pytest.raises(DataError) as caught:
        pick_particles(planted, VOXEL, PickOptions(diameters=[DIAMETER, diameter]), "bright", name="a.mrc")
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_values_that_are_no_numbers_are_refused(planted: NDArray[np.float32], value: float) -> None:
    broken = np.tile(planted, (1, 3, 3))  # so large that not all rows are sampled
    broken[3, 5, 5] = value
    with pytest.raises(
        DataError, match=r"a\.mrc: contains NaN, infinite values or values above 1e\+12; run `cryopipe check`"
    ):
        pick_particles(broken, VOXEL, OPTIONS, "bright", name="a.mrc")


def test_the_filter_answers_most_to_a_ball_of_its_diameter() -> None:
    shape = (48, 48, 48)
    ball = balls(shape, np.array([[24.0, 24.0, 24.0]]), 16.0)

    def answer(diameter: float) -> float:
        narrow, wide = sigmas_for(diameter)
        return float((gaussian_filter(ball, narrow) - gaussian_filter(ball, wide))[24, 24, 24])

    diameters = np.arange(10, 24, 0.5)
    assert abs(diameters[np.argmax([answer(d) for d in diameters])] - 16) <= 0.5


def test_refinement_survives_what_rounding_leaves_of_padding() -> None:
    z, y, x = np.meshgrid(*[np.arange(-REACH, REACH + 1)] * 3, indexing="ij")
    ridge = -(2.0**-22) * (4.0 * z + 2.0 * y - x)[None] ** 2  # its curvature is singular
    found, offsets, heights = refine(ridge)
    assert found.tolist() == [True]
    assert np.isfinite(offsets).all()
    assert heights[0] == pytest.approx(0, abs=1e-12)


def test_refinement_finds_the_top_of_a_smooth_bump() -> None:
    rng = np.random.default_rng(0)
    tops = rng.uniform(-0.5, 0.5, (50, 3))
    grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1)
    bumps = np.exp(-((grid - tops[:, None, None, None]) ** 2 / (2 * np.array([2.2, 1.9, 2.6]) ** 2)).sum(-1))
    found, offsets, heights = refine(bumps)
    assert found.all()
    np.testing.assert_allclose(offsets, tops, atol=0.02)
    np.testing.assert_allclose(heights, 1, atol=2e-3)


def test_robust_statistics() -> None:
    values = np.random.default_rng(0).normal(3, 2, 100_000)
    values[:5000] = 1e6
    median, deviation = robust_statistics(values)
    assert median == pytest.approx(3, abs=0.2)
    assert deviation == pytest.approx(2, rel=0.1)
    assert robust_statistics(np.zeros(0)) == (0, 0)
    assert robust_statistics(np.full(9, 4.0))[1] == 0
    padded = np.concatenate([np.zeros(300_000), values])
    assert robust_statistics(padded) == (median, deviation)


@pytest.mark.slow
def test_memory_stays_below_two_gigabytes(tmp_path: Path) -> None:
    """A float32 tomogram of 1000 x 1500 x 250 voxels, 1.5 GB, picked in a process of its own."""
    shape = (250, 1000, 1500)
    write_volume(tmp_path / "head.mrc", np.zeros((1, 1, 1), dtype=np.float32), VOXEL)
    head = bytearray((tmp_path / "head.mrc").read_bytes()[:1024])
    head[0:12] = np.array(shape[::-1], dtype="<i4").tobytes()
    head[28:40] = np.array(shape[::-1], dtype="<i4").tobytes()
    head[40:52] = np.array(shape[::-1], dtype="<f4").tobytes()
    path = tmp_path / "large.mrc"
    section = noise((shape[1], shape[2]), 1.0).astype("<f4").tobytes()
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(1024 + 4 * int(np.prod(shape, dtype=int)))
        for z in range(0, shape[0], 4):
            stream.seek(1024 + z * len(section))
            stream.write(section)
    assert open_volume(path).shape == shape
    code = (
        "import resource, sys\n"
        "from cryopipe.files.mrc import open_volume\n"
        "from cryopipe.picking import PickOptions, pick_particles\n"
        "picks = pick_particles(open_volume(sys.argv[1]), 10.0, PickOptions(), 'dark')\n"
        "print(len(picks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    count, kilobytes = map(int, result.stdout.split())
    assert count > 0
    assert kilobytes * 1024 < 2e9


def test_real_apoferritin_reaches_the_best_tuned_plain_filter(shared_data: Path) -> None:
    """Labels of another group's network; a plain filter with sigma and threshold tuned on them reaches F1 0.74."""
    volume = open_volume(shared_data / "real" / "apoferritin.mrc")
    labels = read_particles(shared_data / "real" / "apoferritin_centres.star")[list(COORDINATES)].to_numpy(
        float
    )
    picks = pick_particles(volume, 10.0, PickOptions(diameters=[140.0], threshold=3.5), "dark")
    hits = len(match_points(picks.coordinates, labels, 5.0).found)
    assert 2 * hits / (len(picks) + len(labels)) >= 0.74
