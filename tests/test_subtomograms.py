"""Boxes about particles: right place, right scale, right contrast, whatever the voxel size."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryopipe.box_extraction import write_subtomograms
from cryopipe.columns import COORDINATES, PARTICLE
from cryopipe.errors import DataError
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.tomograms import Tomogram

# Blobs of an asymmetric phantom: place relative to its centre (x, y, z, angstrom), width, height.
BLOBS = (
    ((0.0, 0.0, 0.0), 30.0, 1.0),
    ((60.0, 0.0, 0.0), 26.0, 0.8),
    ((0.0, -90.0, 0.0), 28.0, 0.6),
    ((20.0, 10.0, 70.0), 32.0, 0.9),
)


def phantom(
    shape: tuple[int, int, int], voxel_size: float, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sample the phantom on a grid (z, y, x) with its centre at `centre` (x, y, z, voxels)."""
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    density = np.zeros(shape)
    for place, width, height in BLOBS:
        distance2 = sum(
            ((axis - c) * voxel_size - p) ** 2 for axis, c, p in zip((x, y, z), centre, place, strict=True)
        )
        density += height * np.exp(-distance2 / (2 * width**2))
    return density


def normalised(box: NDArray[np.floating]) -> NDArray[np.floating]:
    return (box - box.mean()) / box.std()


def extract(
    volume: NDArray[np.generic],
    coordinates: object,
    voxel_size: float,
    options: SubtomogramOptions,
    contrast: str = "bright",
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the indices and boxes of all batches."""
    parts = list(
        extract_subtomograms(
            volume,
            np.asarray(coordinates, dtype=float),
            voxel_size,
            options,
            contrast,
            np.random.default_rng(seed),
        )
    )
    size = options.box_size
    indices = [np.zeros(0, dtype=int), *(i for i, _ in parts)]
    boxes = [np.zeros((0, size, size, size), dtype=np.float32), *(b for _, b in parts)]
    return np.concatenate(indices), np.concatenate(boxes)


@settings(max_examples=8)
@given(
    voxel_size=st.floats(6.0, 16.0),
    target=st.floats(8.0, 18.0),
    fraction=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
)
# the box's edge cuts through one of the blobs
@example(voxel_size=6.0, target=8.0, fraction=(0.0, 0.5, 0.0))
@example(voxel_size=6.0, target=6.0, fraction=(0.0, 0.5, 0.0))
def test_phantom_keeps_its_place_and_size_at_any_ratio(
    voxel_size: float, target: float, fraction: tuple[float, float, float]
) -> None:
    options = SubtomogramOptions(24, target)
    half = int(24 / 2 * target / voxel_size + 5 * max(1, target / voxel_size)) + 4
    shape = (2 * half + 1, 2 * half + 3, 2 * half + 5)
    centre = np.array([half + 2, half + 1, half]) + np.array(fraction)
    _, boxes = extract(phantom(shape, voxel_size, centre), [centre], voxel_size, options)
    truth = normalised(phantom((24, 24, 24), target, np.array([12.0, 12.0, 12.0])))
    np.testing.assert_allclose(boxes[0], truth, atol=0.01)


def test_whole_voxels_at_the_same_size_are_copied() -> None:
    volume = np.random.default_rng(1).normal(size=(20, 24, 28)).astype(np.float32)
    _, boxes = extract(volume, [[13, 11, 9]], 10.0, SubtomogramOptions(8, 10.0))
    np.testing.assert_allclose(boxes[0], normalised(volume[5:13, 7:15, 9:17]), atol=1e-5)


def test_waves_beyond_the_new_nyquist_limit_do_not_come_back() -> None:
    x = np.arange(64)
    passing, stopped = np.cos(2 * np.pi * 0.1 * x), 5 * np.cos(2 * np.pi * 0.4 * x)
    volume = np.broadcast_to(passing + stopped, (64, 64, 64))
    _, boxes = extract(volume, [[32, 32, 32]], 10.0, SubtomogramOptions(16, 20.0))
    truth = np.cos(2 * np.pi * 0.1 * (32 + 2.0 * (np.arange(16) - 8)))
    assert np.corrcoef(boxes[0].mean(axis=(0, 1)), truth)[0, 1] > 0.98


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", ">i2", "float16", "float32", ">f4"])
def test_every_stored_type_gives_the_same_box(dtype: str) -> None:
    volume = np.random.default_rng(2).integers(0, 100, size=(24, 24, 24))
    options = SubtomogramOptions(12, 13.0)
    _, truth = extract(volume.astype(np.float64), [[12.3, 11.8, 12.1]], 10.0, options)
    _, boxes = extract(volume.astype(dtype), [[12.3, 11.8, 12.1]], 10.0, options)
    np.testing.assert_array_equal(boxes, truth)


def test_a_large_offset_costs_no_precision() -> None:
    volume = np.random.default_rng(2).integers(0, 100, size=(24, 24, 24)).astype(np.uint16)
    options = SubtomogramOptions(12, 13.0)
    _, truth = extract(volume, [[12.3, 11.8, 12.1]], 10.0, options)
    _, boxes = extract(volume + np.uint16(60000), [[12.3, 11.8, 12.1]], 10.0, options)
    np.testing.assert_allclose(boxes, truth, atol=1e-3)


def test_dark_particles_become_bright() -> None:
    volume = phantom((48, 48, 48), 10.0, np.array([24.0, 24.0, 24.0]))
    options = SubtomogramOptions(24, 12.0)
    _, bright = extract(volume, [[24, 24, 24]], 10.0, options)
    _, dark = extract(-volume, [[24, 24, 24]], 10.0, options, "dark")
    assert bright[0, 12, 12, 12] > 2
    np.testing.assert_array_equal(dark, bright)


def test_boxes_have_mean_zero_and_deviation_one() -> None:
    rng = np.random.default_rng(3)
    volume = rng.normal(7, 3, size=(40, 40, 40)).astype(np.float32)
    coordinates = rng.uniform(0, 39, size=(20, 3))
    _, boxes = extract(volume, coordinates, 9.0, SubtomogramOptions(16, 13.33))
    assert len(boxes) == 20
    np.testing.assert_allclose(boxes.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(boxes.std(axis=(1, 2, 3)), 1, atol=1e-5)


def test_a_box_that_just_fits_is_whole_and_one_further_is_not() -> None:
    volume = np.random.default_rng(4).normal(size=(16, 16, 16))
    options = SubtomogramOptions(8, 10.0, "drop")
    fits = [[4, 4, 4], [12, 12, 12], [4, 12, 8]]
    outside = [[3, 4, 4], [4, 4, 13], [8, 13, 8]]
    indices, boxes = extract(volume, fits + outside, 10.0, options)
    assert sorted(indices) == [0, 1, 2]
    np.testing.assert_allclose(boxes[list(indices).index(0)], normalised(volume[:8, :8, :8]), atol=1e-4)
    np.testing.assert_allclose(boxes[list(indices).index(1)], normalised(volume[8:, 8:, 8:]), atol=1e-4)


def test_the_border_is_filled_with_noise_like_the_rest() -> None:
    volume = np.random.default_rng(5).normal(50, 4, size=(40, 40, 40))
    volume[:, :, :20] += 100
    _, boxes = extract(volume, [[33, 20, 20]], 10.0, SubtomogramOptions(24, 10.0))
    inside, filled = boxes[0, :, :, :19], boxes[0, :, :, 19:]
    np.testing.assert_allclose(
        inside, normalised(volume[8:32, 8:32, 21:]) * inside.std() + inside.mean(), atol=0.02
    )
    assert abs(inside.mean() - filled.mean()) < 0.1
    assert 0.9 < filled.std() / inside.std() < 1.1
    # noise, not a mirror image
    assert abs(np.corrcoef(filled.ravel(), inside[:, :, :13:-1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("voxel_size", [10.0, 13.3])
def test_padding_is_filled_like_what_lies_beyond_the_border(voxel_size: float) -> None:
    """The same particle at the border of a volume and of a volume that is padded to a larger one."""
    volume = np.random.default_rng(5).normal(50, 4, size=(40, 40, 40)).astype(np.float32)
    padded = np.zeros((40, 50, 64), np.float32)
    padded[:, :40, :40] = volume
    options = SubtomogramOptions(16, voxel_size)
    centre = [[36, 20, 20]]
    ((_, (expected,)), (_, (box,))) = (extract(v, centre, 10.0, options) for v in (volume, padded))
    # the last voxel before padding is not trusted, nor are those that it is interpolated to
    clear = 16 // 2 + int(10 * 2 / voxel_size)
    known = np.s_[:, :, : clear - 2]
    assert np.corrcoef(box[known].ravel(), expected[known].ravel())[0, 1] > 0.98
    filled = box[:, :, clear + 2 :]
    assert abs(filled.mean() - box[known].mean()) < 0.15
    assert 0.85 < filled.std() / box[known].std() < 1.2
    dropped, _ = extract(padded, [*centre, [20, 20, 20]], 10.0, SubtomogramOptions(16, voxel_size, "drop"))
    assert dropped.tolist() == [1]
    indices, _ = extract(padded, [[60, 45, 20]], 10.0, options)  # all padding
    assert len(indices) == 0


def test_noise_depends_on_the_seed_and_not_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    volume = rng.normal(size=(30, 30, 30))
    coordinates = rng.uniform(0, 29, size=(12, 3))
    options = SubtomogramOptions(16, 13.0)
    first = extract(volume, coordinates, 10.0, options, seed=1)
    with monkeypatch.context() as context:
        context.setattr("cryopipe.subtomograms._BATCH_BYTES", 1)
        again = extract(volume, coordinates, 10.0, options, seed=1)
    other = extract(volume, coordinates, 10.0, options, seed=2)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_allclose(first[1], again[1], atol=1e-5)
    assert np.abs(first[1] - other[1]).max() > 1
    assert len({box[0, 0, 0] for box in first[1]}) == 12


def test_particles_come_in_the_order_of_z() -> None:
    volume = np.random.default_rng(7).normal(size=(30, 30, 30))
    coordinates = [[5, 9, 20], [8, 8, 3], [20, 4, 20], [1, 1, 11]]
    indices, _ = extract(volume, coordinates, 10.0, SubtomogramOptions(8, 10.0))
    assert list(indices) == [1, 3, 2, 0]


def test_a_box_larger_than_the_tomogram_is_filled() -> None:
    volume = np.random.default_rng(8).normal(size=(6, 30, 9))
    indices, boxes = extract(volume, [[4, 15, 3]], 10.0, SubtomogramOptions(32, 13.33))
    assert list(indices) == [0]
    assert np.isfinite(boxes).all()
    assert boxes.std() == pytest.approx(1, abs=1e-4)


def test_numbers_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    volume = np.random.default_rng(9).normal(size=(40, 40, 40))
    volume[1:-1, 1:-1, 20:-1] = 3.0  # erased, and no padding
    coordinates = [[10, 20, 20], [29, 20, 20], [1, 20, 20]]
    with caplog.at_level(logging.INFO, logger="cryopipe.subtomograms"):
        extract(volume, coordinates, 10.0, SubtomogramOptions(8, 10.0))
        extract(volume, coordinates, 10.0, SubtomogramOptions(8, 10.0, "drop"))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "a tomogram: 2 boxes, 1 of them partly filled with noise at the border or padding; "
        "0 dropped at the border or padding, 1 dropped as constant",
        "a tomogram: 1 boxes, 0 of them partly filled with noise at the border or padding; "
        "1 dropped at the border or padding, 1 dropped as constant",
    ]


def test_no_particles_no_boxes() -> None:
    indices, _ = extract(np.zeros((9, 9, 9)), np.zeros((0, 3)), 10.0, SubtomogramOptions(8, 10.0))
    assert len(indices) == 0


def test_centres_outside_the_tomogram_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        extract(np.zeros((9, 10, 11)), [[1, 2, 3], [11, 2, 3], [1, -3, 3]], 10.0, SubtomogramOptions(8, 10.0))
    assert str(caught.value) == (
        "a tomogram: 2 particles are outside the tomogram of 11 x 10 x 9 voxels, the first at "
        "11.0, 2.0, 3.0; use coordinates in voxels of this tomogram"
    )


@pytest.mark.parametrize("value", [np.nan, -np.inf, 2e12])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    volume = np.zeros((20, 20, 20), dtype=np.float32)
    volume[10, 10, 10] = value
    with pytest.raises(
        DataError,
        match=r"a tomogram: contains NaN, infinite values or values above 1e\+12; run `cryopipe check`, then fix the file",
    ):
        extract(volume, [[9, 9, 9]], 10.0, SubtomogramOptions(8, 10.0))


def test_one_table_serves_two_voxel_sizes() -> None:
    rng = np.random.default_rng(10)
    centres = rng.uniform(28, 36, (3, 3))
    volume = sum(phantom((64, 64, 64), 8.0, centre) for centre in centres) + rng.normal(0, 0.01, (64, 64, 64))
    coarse_indices, coarse = extract(volume, centres, 8.0, SubtomogramOptions(16, 16.0))
    fine_indices, fine = extract(volume, centres, 8.0, SubtomogramOptions(32, 8.0))
    np.testing.assert_array_equal(coarse_indices, fine_indices)
    for low, high in zip(coarse, fine, strict=True):
        # voxel 8 of 16 A and voxel 16 of 8 A are one place, and so is every second voxel from there
        assert np.corrcoef(low.ravel(), high[::2, ::2, ::2].ravel())[0, 1] > 0.998


def test_boxes_of_a_tomogram_are_written_with_the_names_of_their_particles(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(24, 30, 36)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", volume, 10.0)
    tomogram = Tomogram("a", str(tmp_path / "a.mrc"), None, (-50.0, 60.0), "dark", None)
    places = [[20.0, 14.0, 13.0], [2.0, 14.0, 12.0], [16.5, 15.0, 11.0]]
    particles = pd.DataFrame(places, columns=list(COORDINATES))
    particles[PARTICLE] = ["a/1", "a/2", "a/3"]
    options = SubtomogramOptions(box_size=8, voxel_size=12.0, border="drop")
    kept = write_subtomograms(tmp_path / "a.h5", tomogram, particles, options, seed=3)
    indices, boxes = extract(volume, places, 10.0, options, "dark", seed=3)
    assert indices.tolist() == [2, 0]
    pd.testing.assert_frame_equal(kept, particles.iloc[indices])
    stack = BoxStack([tmp_path / "a.h5"])
    assert stack.names == ["a/3", "a/1"]
    assert stack.tilt_ranges.tolist() == [[-50.0, 60.0]] * 2
    np.testing.assert_array_equal(stack[:], boxes.astype(np.float16))


def test_a_tomogram_without_particles_is_not_opened(tmp_path: Path) -> None:
    tomogram = Tomogram("a", str(tmp_path / "missing.mrc"), None, (-60.0, 60.0), "dark", None)
    nothing = pd.DataFrame(columns=[PARTICLE, *COORDINATES])
    assert not len(write_subtomograms(tmp_path / "a.h5", tomogram, nothing, SubtomogramOptions(), seed=0))
    assert len(BoxStack([tmp_path / "a.h5"])) == 0
