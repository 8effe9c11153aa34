"""MRC files whose headers leave something open or say something wrong: decided from the file, and told."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE

from cryopipe.check import check_tomogram
from cryopipe.errors import FileError
from cryopipe.files.mrc import open_mask, open_volume, read_header, write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.tomograms import Tomogram

SHAPE = (24, 40, 48)
IMOD_SIGNED = b"\0" * 40 + (1146047817).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0" * 36


def write_file(
    path: Path, volume: np.ndarray, more: bytes = b"", extended: bytes = b"", **fields: object
) -> None:
    """Write `volume` with mrcfile, then change its header as told and put bytes between and behind."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(volume.view(np.int8) if volume.dtype == np.uint8 else volume)
        mrc.voxel_size = 10.0
    content = path.read_bytes()
    header = np.frombuffer(content[:1024], HEADER_DTYPE.newbyteorder("<")).copy()
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.tobytes() + extended + content[1024:] + more)


def findings(path: Path, mask: Path | None = None) -> list[tuple[str, str]]:
    row = Tomogram("a", str(path), None, (-60, 60), "dark", None if mask is None else str(mask))
    return [(finding.status, finding.problem) for finding in check_tomogram(row).findings]


def grey_values(mean: float, deviation: float, low: int, high: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(mean, deviation, SHAPE)
    return np.rint(values).clip(low, high)


UNKNOWN = {"dmin": 0, "dmax": 0, "dmean": 0, "rms": -1}
UNSIGNED = "its header does not state whether bytes are signed; by their histogram they are read as 0 to 255"


@pytest.mark.parametrize("statistics", [UNKNOWN, {"dmin": 0, "dmax": -1}, {"dmin": np.nan, "dmax": np.nan},
                                        {"dmin": 3, "dmax": 100}])  # fmt: skip
@pytest.mark.parametrize(
    ("mean", "deviation", "padding"), [(128, 30, 0), (110, 45, 0), (128, 30, 8), (128, 90, 0), (160, 50, 4)]
)
def test_unsigned_bytes_are_known_by_their_histogram(
    tmp_path: Path, statistics: dict, mean: float, deviation: float, padding: int
) -> None:
    volume = grey_values(mean, deviation, 0, 255).astype(np.uint8)
    volume[:padding] = 0
    write_file(tmp_path / "a.mrc", volume, map=b"", machst=(0, 0, 0, 0), **statistics)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), volume)
    assert ("warning", UNSIGNED) in findings(tmp_path / "a.mrc")


@pytest.mark.parametrize("statistics", [UNKNOWN, {"dmin": 0, "dmax": -1}])
@pytest.mark.parametrize(
    ("mean", "deviation"), [(0, 30), (-40, 30), (30, 45), (0, 90), (0, 100), (60, 10), (-100, 10)]
)
def test_signed_bytes_stay_signed(tmp_path: Path, statistics: dict, mean: float, deviation: float) -> None:
    volume = grey_values(mean, deviation, -128, 127).astype(np.int8)
    write_file(tmp_path / "a.mrc", volume, **statistics)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), volume)
    assert read_header(tmp_path / "a.mrc").remarks == ()


def test_bytes_that_tell_nothing_are_warned_of(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    write_file(tmp_path / "a.mrc", volume, **UNKNOWN)
    assert open_volume(tmp_path / "a.mrc").dtype == np.int8
    assert [problem for problem, _ in read_header(tmp_path / "a.mrc").remarks] == [
        "neither its header nor its histogram show whether bytes are signed; they are read as -128 to 127"
    ]


@pytest.mark.parametrize(
    ("outside", "inside", "fields"),
    [
        (-128, -127, {"extra2": np.void(IMOD_SIGNED)}),
        (-128, 127, {"extra2": np.void(IMOD_SIGNED)}),
        (-128, -20, {"extra2": np.void(IMOD_SIGNED)}),
        (0, 1, {}),
        (0, 127, {}),
        (0, -1, UNKNOWN),
        (0, -1, {}),
        (-1, 1, {}),
    ],
)
def test_masks_of_bytes_are_above_zero_inside(
    tmp_path: Path, outside: int, inside: int, fields: dict
) -> None:
    chosen = np.zeros(SHAPE, bool)
    chosen[4:20, 10:30, 10:40] = True
    write_file(tmp_path / "mask.mrc", np.where(chosen, inside, outside).astype(np.int8), **fields)
    np.testing.assert_array_equal(open_mask(tmp_path / "mask.mrc") > 0, chosen)
    write_volume(tmp_path / "a.mrc", grey_values(0, 30, -99, 99), 10)
    assert findings(tmp_path / "a.mrc", tmp_path / "mask.mrc") == []
    row = Tomogram("a", str(tmp_path / "a.mrc"), None, (-60, 60), "dark", str(tmp_path / "mask.mrc"))
    mask = open_tomogram(row).mask
    assert mask is not None
    np.testing.assert_array_equal(mask > 0, chosen)


@pytest.mark.parametrize("value", [0, -128])
def test_masks_without_an_inside_stay_empty(tmp_path: Path, value: int) -> None:
    fields = {"extra2": np.void(IMOD_SIGNED)} if value else {}
    write_file(tmp_path / "mask.mrc", np.full(SHAPE, value, np.int8), **fields)
    assert not (open_mask(tmp_path / "mask.mrc") > 0).any()


@pytest.mark.parametrize("length", [-1024, 5, 1024, 131072, 2**31 - 1])
def test_a_stale_length_of_the_extended_header_is_told_and_the_voxels_are_read(
    tmp_path: Path, length: int
) -> None:
    volume = grey_values(0, 300, -999, 999).astype(np.int16)
    write_file(tmp_path / "a.mrc", volume, nsymbt=length)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), volume)
    told = f"its header states an extended header of {length:,} bytes, but the file contains none"
    assert findings(tmp_path / "a.mrc") == [("warning", f"{told}: voxels are read from byte 1024 on")]


@pytest.mark.parametrize("missing", [1, 4000])
def test_a_file_cut_short_is_told_whether_or_not_it_has_an_extended_header(
    tmp_path: Path, missing: int
) -> None:
    for extended in (b"", b"x" * 2048):
        write_file(tmp_path / "a.mrc", grey_values(0, 300, -999, 999).astype(np.int16), extended=extended,
                   nsymbt=len(extended))  # fmt: skip
        content = (tmp_path / "a.mrc").read_bytes()
        (tmp_path / "a.mrc").write_bytes(content[:-missing])
        with pytest.raises(
            FileError, match=f"is truncated: {len(content) - missing:,} bytes, but its header"
        ):
            read_header(tmp_path / "a.mrc")


def test_a_file_larger_than_its_header_says_is_told(tmp_path: Path) -> None:
    volume = grey_values(0, 300, -999, 999).astype(np.int16)
    write_file(tmp_path / "a.mrc", volume, more=b"x" * 3840)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrc"), volume)
    assert findings(tmp_path / "a.mrc") == [
        ("warning", "3,840 bytes more than its header states (93,184); they are ignored")
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"ispg": 0, "mz": 1, "cella": (480, 400, 10)}, "a stack of 24 images (space group 0, mz 1)"),
        ({"ispg": 401, "mz": 8, "cella": (480, 400, 80)}, "a stack of 3 volumes (space group 401, mz 8)"),
    ],
)
def test_stacks_are_no_tomograms(tmp_path: Path, fields: dict, problem: str) -> None:
    write_file(tmp_path / "a.mrc", grey_values(0, 300, -999, 999).astype(np.int16), **fields)
    assert findings(tmp_path / "a.mrc") == [("bad", f"is {problem}, not a volume, according to its header")]


def test_volumes_with_an_old_space_group_are_volumes(tmp_path: Path) -> None:
    write_file(tmp_path / "a.mrc", grey_values(0, 300, -999, 999).astype(np.int16), ispg=0)
    assert findings(tmp_path / "a.mrc") == []
