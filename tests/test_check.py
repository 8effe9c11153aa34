"""What the check says of sound, broken and suspicious tomograms."""

from __future__ import annotations

import os
import tracemalloc
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cryopipe.check import (
    check_mask,
    check_tomogram,
    check_volume,
    checks_table,
    is_usable,
    open_if_usable,
    report_findings,
    usable_tomograms,
)
from cryopipe.config import defaults
from cryopipe.errors import ConfigError, DataError
from cryopipe.files.metadata import find_tilt_file
from cryopipe.files.mrc import write_volume
from cryopipe.tomograms import Tomogram, find_same_files

SHAPE = (24, 40, 48)


def noise(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 3, shape).astype(np.float32)


def particles(sign: int) -> np.ndarray:
    """Noise with balls of some 100 A at 10 A per voxel: bright for sign 1, dark for -1."""
    rng = np.random.default_rng(1)
    centres = np.zeros((40, 120, 120), np.float32)
    centres[tuple(rng.integers(5, side - 5, 60) for side in centres.shape)] = 1
    balls = ndimage.gaussian_filter(centres, 3)
    return rng.normal(size=centres.shape).astype(np.float32) + sign * 3 * balls / balls.max()


def tomogram(
    path: Path, voxel_size: float | None = None, contrast: str = "dark", mask: Path | None = None
) -> Tomogram:
    return Tomogram("a", str(path), voxel_size, (-60, 60), contrast, None if mask is None else str(mask))


def problems(volume: np.ndarray, contrast: str = "dark", **options: int) -> list[tuple[str, str]]:
    found = check_volume(volume, contrast, 10.0, **options)
    assert all(finding.remedy for finding in found)
    return [(finding.status, finding.problem) for finding in found]


def test_a_sound_volume_has_no_findings() -> None:
    assert problems(noise()) == []
    assert problems(noise(), "bright") == []
    assert problems((noise() * 10).astype(np.int16)) == []


def test_nan_and_infinity_are_counted_and_located() -> None:
    volume = noise()
    volume[20, 30, 7] = np.nan
    volume[21, 0, 0] = np.inf
    volume[22, 0, 0] = -np.inf
    volume[22, 1:3, 0] = 3e38, -2e12  # sums of such values overflow
    volume[23, 0, 0] = np.array([0x7FA00000], "u4").view("f4")[0]  # a NaN that warns when it is converted
    expected = [
        ("bad", "6 voxels are NaN, infinite or above 1e+12, the first at x, y, z = 7, 30, 20 (from 0)")
    ]
    assert problems(volume) == expected
    assert problems(volume, slab_voxels=1) == expected


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        (np.full(SHAPE, 3.5, np.float32), "all voxels have the same value, 3.5"),
        (
            (noise() > 10).astype(np.float32),
            "has only 2 different values (0, 1): probably a mask or labels",
        ),
        (
            np.round(noise() / 4).clip(0, 7).astype(np.int8),
            "stores integers of standard deviation 0.8: rounding has destroyed the image",
        ),
        (1e6 + noise(), "has almost no variation: standard deviation 3.01 at a mean of 1.00001e+06"),
    ],
)
def test_volumes_without_an_image(volume: np.ndarray, problem: str) -> None:
    ((status, found),) = problems(volume)
    assert status == "bad"
    assert found.startswith(problem)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slab_voxels", [1, 10**7])
def test_constant_slabs_are_located_on_every_axis(axis: int, slab_voxels: int) -> None:
    volume = noise()
    inside = np.moveaxis(volume, axis, 0)
    inside[5:9] = 10
    size, name = SHAPE[axis], "zyx"[axis]
    expected = f"4 of {size} planes along {name} have a single value each, between {name} = 5 and 8 (from 0)"
    padded = ("note", f"{400 / size:.1f} % of the voxels are padding (10), which is ignored")
    assert problems(volume, slab_voxels=slab_voxels) == [padded, ("warning", expected)]
    inside[1 : size // 2 + 4] = 10
    assert problems(volume)[1][0] == "bad"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_constant_planes_alone_is_bad(axis: int) -> None:
    planes = np.random.default_rng(0).normal(size=SHAPE[axis]).astype(np.float32)
    volume = np.broadcast_to(np.expand_dims(planes, [a for a in range(3) if a != axis]), SHAPE)
    assert [status for status, _ in problems(volume)].count("bad") == 1


@pytest.mark.parametrize("slab_voxels", [1, 10**7])
def test_padding_is_stated_and_left_out_of_what_is_judged(slab_voxels: int) -> None:
    """Beside zeros, a faint image would have variation enough and a claim about contrast would be wrong."""
    volume = 100 + particles(-1)
    volume[:12] = 0
    assert problems(volume, "dark", slab_voxels=slab_voxels) == [
        ("note", "30.0 % of the voxels are padding (0), which is ignored")
    ]
    volume[:25] = 0
    assert [status for status, _ in problems(volume, "dark", slab_voxels=slab_voxels)] == ["warning"]
    faint = noise() + 1e6
    faint[-6:] = 0
    ((status, problem),) = problems(faint, slab_voxels=slab_voxels)
    assert status == "bad"
    assert problem.startswith("has almost no variation: standard deviation 2.99")
    two = np.zeros(SHAPE, np.float32)
    two[12:] = 7
    assert problems(two) == [("bad", "contains only padding")]


def test_a_tomogram_with_padding_is_ok(tmp_path: Path) -> None:
    volume = noise(2)
    volume[-4:] = 0
    write_volume(tmp_path / "a.mrc", volume, 10.0)
    check = check_tomogram(tomogram(tmp_path / "a.mrc"))
    assert check.status == "ok"
    assert checks_table([check])["status"].tolist() == ["note"]


@pytest.mark.parametrize(("sign", "right", "wrong"), [(-1, "dark", "bright"), (1, "bright", "dark")])
def test_inverted_contrast_is_suspected(sign: int, right: str, wrong: str) -> None:
    volume = particles(sign)
    assert problems(volume, right) == []
    problem = f"the particles seem to be {right}, but the tomogram table states {wrong}"
    assert problems(volume, wrong) == [("warning", problem)]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("apoferritin", "dark", "bright"),
        ("microtubule_13pf", "bright", "dark"),
        ("lysosome", "dark", "bright"),
    ],
)
def test_contrast_of_real_tomograms(shared_data: Path, name: str, right: str, wrong: str) -> None:
    path = shared_data / "real" / f"{name}.mrc"
    voxel_size = 12.0 if name == "lysosome" else None
    assert check_tomogram(tomogram(path, voxel_size, right)).status == "ok"
    found = check_tomogram(tomogram(path, voxel_size, wrong)).findings
    assert [finding.problem for finding in found] == [
        f"the particles seem to be {right}, but the tomogram table states {wrong}"
    ]


def test_noisy_real_boxes_do_not_look_inverted(shared_data: Path) -> None:
    for path in sorted((shared_data / "real" / "ribosome_subtomograms").glob("*.mrc")):
        for contrast in ("dark", "bright"):
            assert check_tomogram(tomogram(path, 12.0, contrast)).status == "ok"


def test_an_unknown_voxel_size_is_explained(shared_data: Path) -> None:
    check = check_tomogram(tomogram(shared_data / "real" / "lysosome.mrc"))
    assert check.bad == (
        "voxel size in the header is 0 x 0 x 0 A, which means unknown; "
        "enter the voxel size, in angstrom, in the column voxel_size of the tomogram table"
    )


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", np.full((20, 20, 20), 4.0), 1.0)
    write_volume(tmp_path / "mask.mrc", np.zeros((20, 20, 19)), 10)
    check = check_tomogram(tomogram(tmp_path / "a.mrc", mask=tmp_path / "mask.mrc"), twins=["b", "c"])
    assert [finding.problem for finding in check.findings] == [
        "is the same file as tomogram b, c: its particles would be counted twice",
        "voxel size in the header is 1 A, which most programs write if it is unknown",
        "all voxels have the same value, 4",
        f"mask {tmp_path / 'mask.mrc'}: has 19 x 20 x 20 voxels (x, y, z), but the tomogram has 20 x 20 x 20",
    ]
    assert check.status == "bad"
    assert check.bad.count(" | ") == 3


def test_the_table_goes_before_the_header(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", noise(), 10)
    check = check_tomogram(tomogram(tmp_path / "a.mrc", 12.0))
    assert (check.voxel_size, check.status) == (12.0, "warning")
    assert check.findings[0].problem == "the voxel size is 12 A in the tomogram table but 10 A in the header"
    assert check_tomogram(tomogram(tmp_path / "a.mrc", 10.05)).status == "ok"


@pytest.mark.parametrize(
    ("shape", "status", "problem"),
    [
        ((1, 60, 60), "bad", "has only 60 x 60 x 1 voxels (x, y, z): no particle fits into it"),
        ((60, 20, 60), "warning", "has 60 x 20 x 60 voxels (x, y, z): the thinnest axis is y, not z"),
    ],
)
def test_shapes_that_are_no_tomogram(
    tmp_path: Path, shape: tuple[int, int, int], status: str, problem: str
) -> None:
    write_volume(tmp_path / "a.mrc", noise(0, shape), 10)
    finding = check_tomogram(tomogram(tmp_path / "a.mrc")).findings[0]
    assert finding.status == status
    assert finding.problem.startswith(problem)


def test_another_order_of_axes_is_pointed_out(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", noise(), 10)
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[64:76] = np.array([3, 2, 1], "<i4").tobytes()
    (tmp_path / "a.mrc").write_bytes(content)
    assert [str(finding) for finding in check_tomogram(tomogram(tmp_path / "a.mrc")).findings] == [
        "the header maps columns, rows and sections to z, y, x; cryopipe reads them as x, y, z; "
        "transpose the volume if its axes are wrong"
    ]


def test_masks() -> None:
    assert check_mask(np.ones(SHAPE, np.int8), SHAPE) == []
    assert [finding.problem for finding in check_mask(np.ones((2, 3, 4)), (2, 3, 5))] == [
        "has 4 x 3 x 2 voxels (x, y, z), but the tomogram has 5 x 3 x 2"
    ]
    for value in (0, -1, np.nan):
        (finding,) = check_mask(np.full(SHAPE, value), SHAPE, slab_voxels=1)
        assert finding.problem == "is empty: no voxel is above 0"
    last = np.zeros(SHAPE, np.int8)
    last[-1, -1, -1] = 1
    assert check_mask(last, SHAPE, slab_voxels=1) == []


def test_times_ahead_of_the_clock_are_named(tmp_path: Path) -> None:
    path, mask = tmp_path / "a b.mrc", tmp_path / "mask.mrc"
    write_volume(path, noise(), 10.0)
    write_volume(mask, np.ones(SHAPE, np.float32), 10.0)
    for file in (path, mask):
        os.utime(file, (1_900_000_000 + 3600 * 24 * 365 * 30,) * 2)
    found = check_tomogram(tomogram(path, mask=mask))
    when = datetime.fromtimestamp(path.stat().st_mtime)
    assert [str(one) for one in found.findings if "future" in one.problem] == [
        f"its time of change, {when}, lies in the future; run `touch '{path}'`, or correct this computer's clock",
        f"its mask's time of change, {when}, lies in the future; run `touch {mask}`, "
        "or correct this computer's clock",
    ]
    os.utime(path)
    os.utime(mask)
    assert "future" not in str(check_tomogram(tomogram(path, mask=mask)).findings)


def test_a_missing_mask_is_told(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", noise(), 10)
    check = check_tomogram(tomogram(tmp_path / "a.mrc", mask=tmp_path / "mask.mrc"))
    assert check.bad == f"mask {tmp_path / 'mask.mrc'}: no such file; correct the path"


def test_one_table_holds_everything(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", noise(), 10)
    checks = [check_tomogram(tomogram(tmp_path / name)) for name in ("a.mrc", "b.mrc")]
    table = checks_table(checks)
    assert list(table.columns) == ["tomogram", "path", "shape", "voxel_size", "status", "problem", "remedy"]
    assert table["status"].tolist() == ["ok", "bad"]
    assert table["shape"].tolist() == ["48 x 40 x 24", ""]
    assert table.loc[1, "problem"] == "no such file"
    assert [is_usable(checks_table([check])) for check in checks] == [True, False]
    checks = [check_tomogram(tomogram(tmp_path / "a.mrc", 12.0), ["c"])]
    assert checks_table(checks)["status"].tolist() == ["bad", "warning"]


def test_tomograms_that_failed_their_check_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_volume(tmp_path / "a.mrc", noise(), 10)
    rows = [tomogram(tmp_path / name) for name in ("a.mrc", "b.mrc")]
    tables = [checks_table([check_tomogram(row)]) for row in rows]
    assert usable_tomograms(rows, tables) == rows[:1]
    good, bad = (open_if_usable(row, table) for row, table in zip(rows, tables, strict=True))
    assert good is not None
    np.testing.assert_array_equal(good.volume, noise())
    assert (good.voxel_size, bad) == (10, None)
    assert caplog.messages == [
        f"tomogram {rows[1].name} failed its check and is skipped: its results are empty"
    ]


def test_a_bad_tomogram_or_option_stops_its_job_and_every_finding_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_volume(tmp_path / "a.mrc", noise(), 10)
    good, missing = (check_tomogram(tomogram(tmp_path / name)) for name in ("a.mrc", "b.mrc"))
    config = {**defaults(), "bad_tomograms": "stop"}
    config["pick"]["diameters"] = [10.0]
    config["subtomograms"] |= {"box_size": 8, "voxel_size": 10.0}
    assert missing.of_options(config) == []
    with pytest.raises(DataError) as stopped:
        report_findings(missing, config)
    assert str(stopped.value) == f"{tmp_path / 'b.mrc'}: tomogram {missing.tomogram.name}: {missing.bad}"
    report_findings(missing, {**config, "bad_tomograms": "skip"})
    with pytest.raises(ConfigError, match=r"pick\.diameters contains 10 A, which is only 1 voxels"):
        report_findings(good, config)
    findings = [*missing.findings, *missing.findings, *good.findings, *good.of_options(config)]
    assert [text.split(": ", 1)[1] for text in caplog.messages] == [f"{f.status}: {f}" for f in findings]


def test_memory_stays_bounded(tmp_path: Path) -> None:
    volume = np.memmap(tmp_path / "a.raw", np.int16, mode="w+", shape=(160, 256, 256))
    volume[:] = np.random.default_rng(0).integers(-99, 99, volume.shape, np.int16)
    tracemalloc.start()
    check_volume(volume, "dark", 5.0, slab_voxels=8 * 256 * 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20  # as floating-point numbers the volume takes 40 MB


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("file/a.mrc", "is not a usable path (Not a directory); correct the path"),
        ("loop/a.mrc", "is not a usable path (Too many levels of symbolic links); correct the path"),
        ("x" * 300, "is not a usable path (File name too long); correct the path"),
    ],
)
def test_paths_that_lead_nowhere_fail_alone(tmp_path: Path, path: str, problem: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert check_tomogram(tomogram(tmp_path / path)).bad == problem


def test_a_directory_that_may_not_be_entered_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, locked)
    monkeypatch.setattr(Path, "open", locked)
    row = tomogram(Path("closed/a.mrc"))
    assert find_same_files({"a": row}) == {"a": []}
    assert find_tilt_file(row.path) is None
    found = check_tomogram(row).bad
    monkeypatch.undo()
    assert found.startswith("may not be read; change its permissions, or its directory's: chmod u+r FILE")
