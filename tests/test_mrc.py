"""MRC files: every mode and byte order in use, headers as they are met, and what must be refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from mrcfile.dtypes import HEADER_DTYPE

from cryopipe.errors import DataError, FileError
from cryopipe.files.mrc import open_volume, read_header, write_sparse_volume, write_volume

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
SHAPE = (2, 3, 4)  # z, y, x: no two alike


def write_mrc(
    path: Path,
    values: np.ndarray | None = None,
    mode: int = 2,
    order: str = "<",
    extended: bytes = b"",
    voxel_size: tuple[float, float, float] = (5.0, 5.0, 5.0),
    cut: int = 0,
    **fields: object,
) -> np.ndarray:
    """Write an MRC file by hand, header field by header field; return its values."""
    if values is None:
        values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    header = np.zeros((), HEADER_DTYPE.newbyteorder(order))
    for axis, count, size in zip("zyx", values.shape, voxel_size[::-1], strict=True):
        header["n" + axis] = header["m" + axis] = count
        header["cella"][axis] = size * count
    header["mode"], header["nsymbt"] = mode, len(extended)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0)
    for name, value in fields.items():
        header[name] = value
    data = values.astype(np.dtype(MODES.get(mode, "f4")).newbyteorder(order)).tobytes()
    content = header.tobytes() + extended + data
    path.write_bytes(content[: len(content) - cut])
    return values


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_byte_order(tmp_path: Path, mode: int, order: str) -> None:
    values = write_mrc(tmp_path / "a.rec", mode=mode, order=order, extended=b"SERI" * 20)
    header = read_header(tmp_path / "a.rec")
    assert (header.shape_zyx, header.voxel_size, header.mode) == (SHAPE, 5.0, mode)
    volume = open_volume(tmp_path / "a.rec")
    assert volume.dtype.kind + str(volume.dtype.itemsize) == MODES[mode]
    np.testing.assert_array_equal(volume, values)


def test_negative_bytes_are_signed_unless_imod_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    values = np.array([[[-128, -1, 0, 127]]])
    write_mrc(path, values, mode=0)
    np.testing.assert_array_equal(open_volume(path), values)
    write_mrc(
        path, values, mode=0, dmin=0, dmax=255
    )  # no stamp, but a maximum that signed bytes cannot reach
    np.testing.assert_array_equal(open_volume(path), values % 256)

    def imod(flags: int) -> bytes:
        return b"\0" * 40 + (1146047817).to_bytes(4, "little") + flags.to_bytes(4, "little") + b"\0" * 36

    write_mrc(path, values, mode=0, extra2=np.void(imod(0)))
    np.testing.assert_array_equal(open_volume(path), values % 256)
    write_mrc(path, values, mode=0, extra2=np.void(imod(1)))
    np.testing.assert_array_equal(open_volume(path), values)


@pytest.mark.parametrize(
    "fields",
    [
        {"map": b"", "machst": (0, 0, 0, 0)},
        {"map": b"", "machst": (0x44, 0x41, 0, 0)},
        {"machst": (0x11, 0x11, 0, 0)},  # the wrong stamp
        {"mapc": 0, "mapr": 0, "maps": 0},
        {"ispg": 0, "exttyp": b"FEI1", "nversion": 20140},
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_headers_that_programs_fill_in_differently_are_read(tmp_path: Path, fields: dict, order: str) -> None:
    values = write_mrc(tmp_path / "a.mrc", mode=1, order=order, **fields)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), values)


def test_bytes_behind_the_volume_do_not_matter(tmp_path: Path) -> None:
    values = write_mrc(tmp_path / "a.mrc")
    with (tmp_path / "a.mrc").open("ab") as stream:
        stream.write(b"more")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), values)


def test_mrcfile_agrees_on_files_it_wrote(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(values)
        mrc.voxel_size = 13.48
    assert read_header(tmp_path / "a.mrc").voxel_size == 13.48
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), values)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ((0, 0, 0), "voxel size in the header is 0 x 0 x 0 A, which means unknown"),
        ((1, 1, 1), "voxel size in the header is 1 A, which most programs write if it is unknown"),
        ((10, 10, 10.2), "voxel size in the header differs between the axes: 10 x 10 x 10.2 A (x, y, z)"),
        ((-4, -4, -4), "voxel size in the header is -4 x -4 x -4 A, which means unknown"),
        ((1e-8, 1e-8, 1e-8), "voxel size in the header is 1e-08 x 1e-08 x 1e-08 A, which is impossible"),
        ((float("nan"), 5, 5), "voxel size in the header is 0 x 5 x 5 A, which means unknown"),
    ],
)
def test_voxel_sizes_that_mean_unknown(tmp_path: Path, sizes: tuple, problem: str) -> None:
    write_mrc(tmp_path / "a.mrc", voxel_size=sizes)
    header = read_header(tmp_path / "a.mrc")
    assert header.voxel_size is None
    assert header.voxel_size_problem == problem


def test_voxel_sizes_within_one_percent_count_as_one(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", voxel_size=(10.0, 10.0, 10.06))
    header = read_header(tmp_path / "a.mrc")
    assert header.voxel_size == pytest.approx(10.02)
    assert header.voxel_size_problem == ""


def test_a_header_without_sampling_has_no_voxel_size(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", mx=0, my=0, mz=0)
    assert read_header(tmp_path / "a.mrc").voxel_size is None


REFUSED = {
    "missing": (None, "no such file; correct the path"),
    "empty": (b"", "is empty (0 bytes); copy or reconstruct it again"),
    "short": (
        b"abc",
        "is not an MRC file: 3 bytes, shorter than an MRC header of 1024; give a volume in MRC format",
    ),
    "text": (
        b"This is no volume. " * 200,
        "is not an MRC file: no 'MAP' stamp, and the sizes in its header are impossible",
    ),
    "gzip": (b"\x1f\x8b" + b"x" * 2000, "is compressed with gzip; unpack it first: gunzip FILE"),
    "bzip2": (b"BZh9" + b"x" * 2000, "is compressed with bzip2; unpack it first: bunzip2 FILE"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"x" * 2000, "is an HDF5 file, not an MRC; convert it to MRC"),
    "tiff": (b"II*\x00" + b"x" * 2000, "is a TIFF file, not an MRC; convert it to MRC"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mrc_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    if content is not None:
        (tmp_path / "a.mrc").write_bytes(content)
    with pytest.raises(FileError) as caught:
        open_volume(tmp_path / "a.mrc")
    assert str(caught.value).startswith(f"{tmp_path / 'a.mrc'}: {message}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": 101}, r"MRC mode 101 \(4-bit integers\) cannot be used; .*newstack -mode 1 IN OUT"),
        ({"mode": 4}, r"MRC mode 4 \(complex 32-bit numbers: a Fourier transform\) cannot be used"),
        ({"mode": 3}, r"MRC mode 3 \(complex 16-bit integers"),
        ({"mode": 77}, r"its header has impossible values: 4 x 3 x 2 voxels \(x, y, z\), mode 77"),
        ({"nz": 0}, r"its header has impossible values: 4 x 3 x 0 voxels \(x, y, z\), mode 2"),
        ({"nx": -4}, r"its header has impossible values: -4 x 3 x 2 voxels"),
        ({"nsymbt": -1024, "cut": 1}, r"extended header of -1024 bytes; copy or reconstruct it again"),
        (
            {"cut": 1},
            r"is truncated: 1,119 bytes, but its header states 1,120 \(4 x 3 x 2 voxels of 4 bytes\)",
        ),
        ({"nz": 500}, r"is truncated: .* \(4 x 3 x 500 voxels of 4 bytes\); copy or reconstruct it again"),
    ],
)
def test_volumes_that_cannot_be_used_are_refused(tmp_path: Path, fields: dict, message: str) -> None:
    write_mrc(tmp_path / "a.mrc", **fields)
    with pytest.raises(FileError, match=message):
        read_header(tmp_path / "a.mrc")


def test_directories_and_locked_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match="is a directory; give the MRC file in it"):
        read_header(tmp_path)

    def locked(*arguments: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(
        FileError, match="may not be read; change its permissions, or its directory's: chmod u"
    ):
        read_header(tmp_path / "a.mrc")


def test_reading_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path)
    path.chmod(0o444)
    os.utime(path, (1e9, 1e9))
    before = (path.stat().st_mode, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
    volume = open_volume(path)
    assert isinstance(volume, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        volume[0, 0, 0] = 1
    after = (path.stat().st_mode, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
    assert after == before


SHAPES = npst.array_shapes(min_dims=3, max_dims=3, max_side=5)
FINITE = {"allow_nan": False, "allow_infinity": False}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    volume=npst.arrays(np.float32, SHAPES, elements=st.floats(-(2.0**60), 2.0**60, width=32, **FINITE))
    | npst.arrays(np.int8, SHAPES)
    | npst.arrays(np.int16, SHAPES)
    | npst.arrays(np.uint16, SHAPES),
    voxel_size=st.floats(0.5, 100),
)
def test_round_trip(tmp_path: Path, volume: np.ndarray, voxel_size: float) -> None:
    path = tmp_path / "a.mrc"
    write_volume(path, volume, voxel_size)
    read = open_volume(path)
    assert read.dtype == volume.dtype
    np.testing.assert_array_equal(read, volume)
    if abs(voxel_size - 1) > 1e-3:
        assert read_header(path).voxel_size == pytest.approx(voxel_size, rel=1e-5)


@pytest.mark.parametrize(
    ("dtype", "written"),
    [("f8", "f4"), ("f2", "f4"), ("bool", "i1"), ("u1", "u2"), (">i2", "i2"), ("i4", "f4")],
)
def test_other_types_become_the_nearest_that_all_programs_read(
    tmp_path: Path, dtype: str, written: str
) -> None:
    values = (np.arange(24).reshape(SHAPE) % 2).astype(dtype)
    write_volume(tmp_path / "a.mrc", values, 5)
    assert open_volume(tmp_path / "a.mrc").dtype == written
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), values.astype(written))


def test_written_headers_are_valid_and_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = np.random.default_rng(1).normal(3, 2, size=(7, 6, 5)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", volume, 7.84)
    assert mrcfile.validate(tmp_path / "a.mrc"), capsys.readouterr().out
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert mrc.voxel_size.x == pytest.approx(7.84)
        assert mrc.is_volume()
        assert mrc.header.dmin == volume.min()
        assert mrc.header.dmax == volume.max()
        assert mrc.header.dmean == pytest.approx(volume.mean(), rel=1e-5)
        assert mrc.header.rms == pytest.approx(volume.std(), rel=1e-5)


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = np.ones(SHAPE, np.float32)
    write_volume(tmp_path / "a.mrc", volume, 5)
    write_volume(tmp_path / "b.mrc", volume, 5)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_large_volumes_are_written_a_few_sections_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryopipe.files.mrc._SECTION_BYTES", 4 * 30 * 2)
    volume = np.random.default_rng(2).normal(size=(7, 6, 5)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", volume, 5)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), volume)
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert mrc.header.rms == pytest.approx(volume.std(), rel=1e-5)


@pytest.mark.parametrize(
    ("volume", "voxel_size", "message"),
    [
        (np.zeros((2, 2)), 5, r"an array of shape \(2, 2\) is not a volume"),
        (np.zeros((0, 2, 2)), 5, r"an array of shape \(0, 2, 2\) is not a volume"),
        (np.full(SHAPE, np.nan), 5, "the volume holds NaN or infinity and was not written"),
        (np.full(SHAPE, 1e300), 5, "the volume holds NaN or infinity and was not written"),
        (np.zeros(SHAPE), 0, "voxel size 0 is not a positive length"),
        (np.zeros(SHAPE), np.nan, "voxel size nan is not a positive length"),
    ],
)
def test_nonsense_is_not_written(tmp_path: Path, volume: np.ndarray, voxel_size: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_volume(tmp_path / "a.mrc", volume, voxel_size)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["apoferritin", "microtubule_13pf", "lysosome"])
def test_real_tomograms_read_as_mrcfile_reads_them(shared_data: Path, name: str) -> None:
    path = shared_data / "real" / f"{name}.mrc"
    with mrcfile.mmap(path, mode="r", permissive=True) as mrc:
        np.testing.assert_array_equal(open_volume(path), mrc.data)


@pytest.mark.parametrize("kind", ["int8", "int16", "float32"])
def test_a_sparse_volume_holds_its_rows_and_zeros(tmp_path: Path, kind: str) -> None:
    expected = np.zeros((5, 7, 3), kind)
    expected[1, 2:4], expected[4, 6] = np.arange(6).reshape(2, 3), [7, 8, 9]
    rows = [(4, 6, np.ones((1, 3), kind)), (1, 2, expected[1, 2:4]), (4, 6, expected[4, 6:])]
    write_sparse_volume(tmp_path / "sparse.mrc", (5, 7, 3), np.dtype(kind), 2.5, rows)
    np.testing.assert_array_equal(open_volume(tmp_path / "sparse.mrc"), expected)
    assert read_header(tmp_path / "sparse.mrc").voxel_size == pytest.approx(2.5)


def test_a_sparse_volume_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[int, int, np.ndarray]]:
        yield 0, 0, np.ones((1, 3), np.int8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sparse_volume(tmp_path / "sparse.mrc", (5, 7, 3), np.dtype("int8"), 2.5, broken())
    assert not list(tmp_path.iterdir())
