"""Stacks of boxes on disk: what goes in comes out, in any order, in any process."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryopipe.errors import DataError, FileError
from cryopipe.files import box_stacks as boxes_module
from cryopipe.files.box_stacks import BoxStack, BoxWriter

BOX = 4
COUNTS = (5, 0, 3)


def write(
    path: Path,
    count: int,
    seed: int = 0,
    box_size: int = BOX,
    voxel_size: float = 13.3,
    tilt_range: tuple[float, float] = (-60.0, 50.0),
) -> NDArray[np.float32]:
    """Write `count` random boxes in two steps; the values are exact in half precision."""
    shape = (count, box_size, box_size, box_size)
    values = np.random.default_rng(seed).integers(-512, 512, shape).astype(np.float32)
    names = [f"{path.stem}/{n + 1}" for n in range(count)]
    with BoxWriter(path, box_size, voxel_size, tilt_range, path.stem) as writer:
        writer.append(values[: count // 2], names[: count // 2])
        writer.append(values[count // 2 :], names[count // 2 :])
    return values


@pytest.fixture(scope="module")
def stack_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], NDArray[np.float32]]:
    folder = tmp_path_factory.mktemp("boxes")
    paths = [folder / f"tomogram_{n}.h5" for n in range(len(COUNTS))]
    ranges = [(-60.0, 50.0), (-50.0, 60.0), (-40.0, 41.0)]
    values = [
        write(path, count, seed, tilt_range=tilts)
        for seed, (path, count, tilts) in enumerate(zip(paths, COUNTS, ranges, strict=True))
    ]
    return paths, np.concatenate(values)


def test_joins_files_in_order(stack_files: tuple[list[Path], NDArray[np.float32]]) -> None:
    paths, values = stack_files
    stack = BoxStack(paths)
    assert len(stack) == 8
    assert stack.shape == (8, BOX, BOX, BOX)
    assert (stack.box_size, stack.voxel_size) == (BOX, 13.3)
    assert stack.names == [f"tomogram_0/{n}" for n in range(1, 6)] + [f"tomogram_2/{n}" for n in range(1, 4)]
    assert stack.tomograms == ["tomogram_0"] * 5 + ["tomogram_2"] * 3
    np.testing.assert_array_equal(stack.tilt_ranges, [[-60, 50]] * 5 + [[-40, 41]] * 3)
    assert stack[:].dtype == np.float32
    np.testing.assert_array_equal(stack[:], values)


@given(st.lists(st.integers(-8, 7), max_size=20))
def test_any_integers_select_as_numpy_does(
    stack_files: tuple[list[Path], NDArray[np.float32]], indices: list[int]
) -> None:
    paths, values = stack_files
    chosen = np.array(indices, dtype=int)
    np.testing.assert_array_equal(BoxStack(paths)[chosen], values[chosen])


@given(st.slices(8))
def test_any_slice_selects_as_numpy_does(
    stack_files: tuple[list[Path], NDArray[np.float32]], chosen: slice
) -> None:
    paths, values = stack_files
    np.testing.assert_array_equal(BoxStack(paths)[chosen], values[chosen])


def test_one_integer_and_a_mask(stack_files: tuple[list[Path], NDArray[np.float32]]) -> None:
    paths, values = stack_files
    stack = BoxStack(paths)
    np.testing.assert_array_equal(stack[-1], values[-1])
    mask = np.arange(8) % 3 == 0
    np.testing.assert_array_equal(stack[mask], values[mask])
    with pytest.raises(IndexError):
        stack[8]


def test_reads_with_fewer_handles_than_files(
    stack_files: tuple[list[Path], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes_module, "OPEN_FILES", 1)
    paths, values = stack_files
    stack = BoxStack(paths)
    for order in ([0, 7, 1, 6], [6, 0], [7, 7, 0]):
        np.testing.assert_array_equal(stack[order], values[order])


def read_sum(stack: BoxStack, indices: list[int]) -> float:
    return float(stack[indices].sum())


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_crosses_into_other_processes(
    stack_files: tuple[list[Path], NDArray[np.float32]], method: str
) -> None:
    paths, values = stack_files
    stack = BoxStack(paths)
    assert stack[0] is not None  # the parent holds an open handle
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(read_sum, (stack, [6, 1])) == values[[6, 1]].sum()


def test_a_forked_process_opens_its_own_files(
    stack_files: tuple[list[Path], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, values = stack_files
    stack = BoxStack(paths)
    np.testing.assert_array_equal(stack[2], values[2])
    inherited = dict(stack._handles)
    monkeypatch.setattr(boxes_module.os, "getpid", lambda: -1)
    np.testing.assert_array_equal(stack[2], values[2])
    assert not inherited[0]
    assert stack._handles[0]


def test_pickled_stack_reads_the_same(stack_files: tuple[list[Path], NDArray[np.float32]]) -> None:
    paths, values = stack_files
    stack = BoxStack(paths)
    assert stack[1].shape == (BOX, BOX, BOX)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack))[:], values)


def test_no_boxes_at_all(tmp_path: Path) -> None:
    write(tmp_path / "empty.h5", 0)
    stack = BoxStack([tmp_path / "empty.h5"])
    assert len(stack) == 0
    assert stack[:].shape == (0, BOX, BOX, BOX)
    assert stack.tilt_ranges.shape == (0, 2)


def test_one_box_is_one_chunk_in_half_precision(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", 3)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["boxes"].dtype == np.float16
        assert file["boxes"].chunks == (1, BOX, BOX, BOX)
        assert file["boxes"].compression is None


def write_and_fail(path: Path) -> None:
    with BoxWriter(path, BOX, 10.0, (-60, 60), "a") as writer:
        writer.append(np.zeros((1, BOX, BOX, BOX)), ["a/1"])
        raise RuntimeError("stop")


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_values_that_half_precision_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    values = np.zeros((2, BOX, BOX, BOX), dtype=np.float32)
    values[1, 0, 1, 2] = value
    with (
        pytest.raises(DataError, match="particle 'a/2' contains values that are not finite"),
        BoxWriter(tmp_path / "a.h5", BOX, 10.0, (-60, 60), "a") as writer,
    ):
        writer.append(values, ["a/1", "a/2"])


def test_shapes_must_agree(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"boxes of shape \(1, 4, 4, 5\) for 1 names, box size 4"),
        BoxWriter(tmp_path / "a.h5", BOX, 10.0, (-60, 60), "a") as writer,
    ):
        writer.append(np.zeros((1, 4, 4, 5)), ["a/1"])


def test_box_sizes_and_voxel_sizes_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", 1)
    write(tmp_path / "b.h5", 1, box_size=6)
    write(tmp_path / "c.h5", 1, voxel_size=10.0)
    for other in ("b.h5", "c.h5"):
        with pytest.raises(
            DataError, match=f"{other}: boxes of .* extract all tomograms with the same box_size"
        ):
            BoxStack([tmp_path / "a.h5", tmp_path / other])


def test_files_that_are_no_stacks(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.h5: no such file; run extract_subtomograms"):
        BoxStack([tmp_path / "absent.h5"])
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(
        FileError, match=r"text\.h5: not a readable HDF5 file .* run extract_subtomograms again"
    ):
        BoxStack([tmp_path / "text.h5"])
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(FileError, match=r"other\.h5: not a stack of boxes"):
        BoxStack([tmp_path / "other.h5"])
    with pytest.raises(ValueError, match="at least one file"):
        BoxStack([])
