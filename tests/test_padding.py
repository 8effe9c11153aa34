"""Padding: it is recognised, and what it surrounds is found as if it were not there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.picking import PickOptions, pick_particles
from cryopipe.tomograms import Tomogram
from cryopipe.volume import padding as padding_module
from cryopipe.volume.padding import Region, find_padding, gather

SHAPE = (64, 160, 160)
VOXEL = 10.0
DIAMETER = 120.0
OPTIONS = PickOptions(diameters=[DIAMETER], threshold=6.0)
Volume = NDArray[np.float32]
Where = NDArray[np.bool_]
z, y, x = np.meshgrid(*map(np.arange, SHAPE), indexing="ij", sparse=True)


def planted(beads: bool = False) -> tuple[Volume, NDArray[np.float64]]:
    """Dark balls 45 voxels apart in noise of mean 5 standard deviations; centres z, y, x."""
    rng = np.random.default_rng(7)
    grid = np.stack(np.meshgrid([20, 43], [24, 70, 116, 140], [22, 68, 114, 138], indexing="ij"), -1)
    centres = grid.reshape(-1, 3) + rng.uniform(-2, 2, (32, 3))
    volume = rng.normal(5, 1, SHAPE)
    for centre in centres:
        radius = np.sqrt(sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)))
        volume -= 1.5 / (1 + np.exp(2 * (radius - DIAMETER / VOXEL / 2)))
    if beads:
        for bead in ((32, 47, 47), (32, 93, 45), (30, 46, 92), (33, 92, 92)):
            volume[sum((a - c) ** 2 for a, c in zip((z, y, x), bead, strict=True)) < 16] = -45
    return volume.astype(np.float32), centres


def sections() -> Where:
    return (z < 7) | (z >= 57) | (0 * y + 0 * x > 0)


def wedges() -> Where:
    """A slab tilted by 7 degrees about y."""
    slope = np.tan(np.radians(7)) * (x - 79.5)
    return (np.abs(z - 31.5 - slope) > 30) | (0 * y > 0)


def corners() -> Where:
    """What a rotation by 8 degrees about z leaves free."""
    angle = np.radians(8)
    along = np.cos(angle) * (x - 79.5) + np.sin(angle) * (y - 79.5)
    across = np.cos(angle) * (y - 79.5) - np.sin(angle) * (x - 79.5)
    return (np.abs(along) > 76) | (np.abs(across) > 76) | (0 * z > 0)


def slab() -> Where:
    return (y >= 120) | (0 * z + 0 * x > 0)


def picked(volume: Volume, mask: NDArray[np.int8] | None = None) -> NDArray[np.float64]:
    return pick_particles(volume, VOXEL, OPTIONS, "dark", mask).coordinates[:, ::-1]


@pytest.fixture(scope="module")
def plain() -> dict[bool, NDArray[np.float64]]:
    """What is picked without padding, without and with beads."""
    return {beads: picked(planted(beads)[0]) for beads in (False, True)}


def assert_found_as_before(
    found: NDArray[np.float64], before: NDArray[np.float64], padded: Where, beads: bool = False
) -> None:
    """All planted particles of which half is left, or more, are found; there are no other picks than before."""
    _, centres = planted(beads)
    inside = ~padded[tuple(np.rint(centres).astype(int).T)]
    assert inside.sum() >= 15
    assert cKDTree(before).query(centres)[0].max() < 1.5  # they were found
    assert cKDTree(found).query(centres[inside])[0].max() < 2.5  # those that are cut have moved inwards
    assert not padded[tuple(np.rint(found).astype(int).T)].any()
    assert cKDTree(before).query(found)[0].max() < 3


@pytest.mark.parametrize(
    ("shape", "value", "beads"),
    [
        (sections, 0.0, False),
        (wedges, 0.0, False),
        (wedges, 0.0, True),
        (corners, 0.0, False),
        (corners, 0.0, True),
        (slab, -3.25, False),
    ],
)
def test_planted_particles_are_found_as_without_padding(
    shape: Callable[[], Where], value: float, beads: bool, plain: dict[bool, NDArray[np.float64]]
) -> None:
    volume, _ = planted(beads)
    padded = shape()
    volume[padded] = value
    assert_found_as_before(picked(volume), plain[beads], padded, beads)


def test_beads_and_junk_outside_a_mask_are_not_seen(plain: dict[bool, NDArray[np.float64]]) -> None:
    volume, _ = planted()
    outside = (x < 80) | (0 * z + 0 * y > 0)
    rng = np.random.default_rng(2)
    volume[outside] = (gaussian_filter(rng.normal(size=SHAPE), 4) * 4000 - 100)[outside]
    found = picked(volume, (~outside).astype(np.int8))
    assert_found_as_before(found, plain[False], outside)


@pytest.mark.parametrize("dtype", ["f4", "i1"])
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("mean", [0, 5])
def test_rotated_and_interpolated_volumes(dtype: str, order: int, mean: float) -> None:
    """As programs rotate them, about all axes: what comes in from outside is 0."""
    volume, centres = planted()
    matrix = Rotation.from_euler("ZYX", [10, 6, 4], degrees=True).as_matrix()[::-1, ::-1]
    middle = (np.array(SHAPE) - 1) / 2
    # (x, y, z) matrices with their axes reversed act on (z, y, x)
    volume = affine_transform(volume - 5 + mean, matrix.T, middle - matrix.T @ middle, order=order)
    centres = (centres - middle) @ matrix.T + middle
    if dtype == "i1":
        volume = np.clip(np.rint(10 * volume), -128, 127).astype(np.int8)
    found = picked(volume)
    assert cKDTree(found).query(centres)[0].max() < 2
    assert cKDTree(centres).query(found)[0].max() < 2
    padding = find_padding(volume)
    assert padding is not None
    assert padding.values == (0.0,)
    assert padding.fraction == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize("chunk_voxels", [100_000, 200_000])
def test_chunks_do_not_change_a_single_bit_beside_padding(chunk_voxels: int) -> None:
    volume, _ = planted()
    part = np.where(wedges(), 0, volume)[:, :50, :60].astype(np.float32)
    options = PickOptions(diameters=[60.0, DIAMETER], threshold=3.0)
    whole = pick_particles(part, VOXEL, options, "dark", chunk_voxels=10**9)
    pieces = pick_particles(part, VOXEL, options, "dark", chunk_voxels=chunk_voxels)
    assert len(whole) > 5
    for name in ("coordinates", "scores", "diameters"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f2", "i1", "u1", ">i2", "u2"])
@pytest.mark.parametrize("shape", [sections, wedges, corners, slab])
def test_padding_is_where_it_was_put(shape: Callable[[], Where], dtype: str) -> None:
    rng = np.random.default_rng(3)
    volume = (rng.normal(60, 12, SHAPE)).clip(1, 127).astype(dtype)
    padded = shape()
    volume[padded] = 0
    padding = find_padding(volume)
    assert padding is not None
    assert padding.fraction == pytest.approx(padded.mean(), abs=1e-12)
    assert padding.values == (0.0,)
    region = Region(SHAPE, padding)
    known = region.grid(*map(np.arange, SHAPE))
    assert not (known & padded).any()
    # no more is left out than what lies next to padding along an axis
    beside = padded.copy()
    for axis in range(3):
        for step in (-1, 1):
            beside |= np.roll(padded, step, axis)
    assert known[~beside].all()
    voxels = rng.integers(0, SHAPE, (1000, 3))
    np.testing.assert_array_equal(region.holds(voxels), known[tuple(voxels.T)])


def test_whole_numbers_saturation_and_erased_parts_are_no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    shape = (40, 100, 120)
    noise = rng.normal(0, 12, shape)
    assert find_padding(noise) is None
    for levels in (0.8, 1.0, 1.5):
        assert find_padding(rng.normal(0, levels, (40, 200, 240)).round().astype(np.int8)) is None
    # a border that was smeared: smooth, and of few values once stored in bytes
    smooth = gaussian_filter(rng.normal(0, 40, shape), 6)
    fade = np.clip(np.arange(120) / 30 - 0.3, 0, 1)
    smeared = (noise * fade + smooth).clip(-127, 127).round().astype(np.int8)
    assert len(np.unique(smeared[:, :, 0])) < 20
    assert find_padding(smeared) is None
    with monkeypatch.context() as without:
        without.setattr(padding_module, "_SMALLEST_STEP", 0)
        assert find_padding(smeared) is not None
    # saturated beads on a face, and a hole inside
    beads = noise.round().clip(-127, 127).astype(np.int8)
    for column in (10, 40, 70, 100):
        beads[:6, 50:57, column : column + 7] = -127
    beads[10:30, 20:80, 20:100] = 0
    assert find_padding(beads) is None
    beads[:6] = -127
    padding = find_padding(beads)
    assert padding is not None
    assert padding.fraction == pytest.approx(6 / 40)


def test_a_volume_of_one_value_is_all_padding() -> None:
    padding = find_padding(np.full((20, 20, 20), 3, np.int16))
    assert padding is not None
    assert (padding.fraction, padding.values) == (1.0, (3.0,))


@pytest.mark.parametrize("name", ["apoferritin", "lysosome", "microtubule_13pf"])
def test_real_tomograms_are_not_padded(shared_data: Path, name: str) -> None:
    """The borders of the first are smeared; all hold clipped values."""
    assert find_padding(open_volume(shared_data / "real" / f"{name}.mrc")) is None


def test_unsigned_bytes_without_stamp_or_statistics_are_picked_as_they_are(
    tmp_path: Path, plain: dict[bool, NDArray[np.float64]]
) -> None:
    """Read as signed, half of the noise would change its side; padding must not decide the sign."""
    volume, _ = planted()
    padded = wedges()
    stored = (volume * 14 + 55).clip(1, 255).round().astype(np.uint8)
    stored[padded] = 0
    write_volume(tmp_path / "a.mrc", stored.view(np.int8), VOXEL)
    with (tmp_path / "a.mrc").open("r+b") as stream:
        stream.seek(76)
        stream.write(np.array([0, -1, -2], "<f4").tobytes())  # minimum, maximum and mean: not known
    opened = open_tomogram(Tomogram("a", str(tmp_path / "a.mrc"), None, (-60, 60), "dark", None))
    assert opened.volume.dtype == np.uint8
    assert_found_as_before(picked(opened.volume), plain[False], padded)


def test_the_log_says_how_much_is_padding(caplog: pytest.LogCaptureFixture) -> None:
    volume = np.random.default_rng(0).normal(5, 1, (40, 50, 60)).astype(np.float32)
    volume[30:] = 0
    with caplog.at_level(logging.INFO):
        pick_particles(volume, VOXEL, OPTIONS, "dark", name="ts_01")
    assert caplog.messages[0] == "ts_01: 25.0 % of the voxels are padding (0)"


def test_gathering_is_indexing() -> None:
    volume = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    rng = np.random.default_rng(1)
    for kind in (
        np.arange(1, 5),
        np.arange(0, 6, 2),
        np.array([5]),
        np.array([1, 3, 3]),
        np.array([3, 1, 0]),
    ):
        indices = (kind, rng.integers(0, 7, 5), kind)
        np.testing.assert_array_equal(gather(volume, indices), volume[np.ix_(*indices)])
