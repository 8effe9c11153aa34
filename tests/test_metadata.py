"""Tilt angles from files as IMOD, SerialEM, AreTomo, Warp and RELION write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryopipe.errors import FileError
from cryopipe.files.metadata import find_tilt_file, read_tilt_range, tilt_angles

REAL = {
    "imod/tilt_1.tlt": (-52.24, 63.76, 59),
    "mdoc/017.mdoc": (-52.0064, 65.9732, 60),
    "mdoc/017.tlt": (-52.01, 65.97, 60),
    "aretomo/test.aln": (-61.5, -57.0, 4),
    "aretomo/test.rawtlt": (-66.0, -63.0, 3),
    "warp/gs04_ts_003.xml": (-46.0, 45.99, 47),
    "relion5/relion5_TS_01_tilt.star": (-57.0, 60.0, 40),
    "relion5/Tomograms/job009/tilt_series/tomo200528_107.star": (-50.99, 51.0, 35),
    "relion5/project_with_jobs/Tomograms/job_tomo/tilt_series/13pf_MT.star": (-60.1, 59.9, 5),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    low, high, count = REAL[name]
    path = shared_data / "metadata" / name
    assert read_tilt_range(path) == (low, high)
    assert tilt_angles(path).shape == (count,)


def test_mdoc_and_tlt_of_one_series_agree(shared_data: Path) -> None:
    folder = shared_data / "metadata" / "mdoc"
    assert tilt_angles(folder / "017.mdoc") == pytest.approx(tilt_angles(folder / "017.tlt"), abs=0.01)


WARP = """<?xml version="1.0" encoding="utf-8"?>
<TiltSeries AreAnglesInverted="{inverted}"><Angles>-60
0
50</Angles>{use}</TiltSeries>"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.tlt", "-60.0  1\n\n 3 2\n  55.5 3\n", [-60, 3, 55.5]),
        ("a.RAWTLT", "-1\r\n1\r\n", [-1, 1]),
        ("a.mdoc", "[T = TiltAngle = 99]\n[ZValue = 0]\nTiltAngle = -3\n[ZValue = 1]\nTiltAngle=3.5\n", [-3, 3.5]),
        ("a.aln", "# TILT\n 1 -12 1 0 0 1 1 1 0 -30\n 2 -12 1 0 0 1 1 1 0 33\n# Local Alignment\n 0 0 1 2 3 4 80\n",
         [-30, 33]),
        ("a.xml", WARP.format(inverted="False", use=""), [60, 0, -50]),
        ("a.xml", WARP.format(inverted="True", use=""), [60, 0, -50]),
        ("a.xml", WARP.format(inverted='False" LevelAngleY="2', use=""), [58, -2, -52]),
        ("a.xml", WARP.format(inverted="False", use="<UseTilt>False\nTrue\nTrue</UseTilt>"), [0, -50]),
        ("a.star", "data_x\nloop_\n_rlnTomoNominalStageTiltAngle #1\n_rlnTomoYTilt #2\n1 -2\n3 4\n", [-2, 4]),
    ],
)  # fmt: skip
def test_each_format(tmp_path: Path, name: str, text: str, expected: list[float]) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert tilt_angles(tmp_path / name).tolist() == expected
    assert read_tilt_range(tmp_path / name) == (min(expected), max(expected))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tlt", None, "no such file; correct the path"),
        ("a.tlt", "", "contains no tilt angles; give the file of the whole tilt series"),
        ("a.tlt", "one\n", r"tilt angles cannot be read \(could not convert string to float: 'one'\)"),
        ("a.tlt", "10\n100\n", "tilt angle 100 is outside -90 to 90 degrees"),
        ("a.tlt", "nan\n", "tilt angle nan is outside -90 to 90 degrees"),
        ("a.tlt", "5\n5\n", "contains only the tilt angle 5"),
        ("a.mdoc", "PixelSpacing = 2\n", "contains no tilt angles"),
        ("a.xml", "<TiltSeries>", "tilt angles cannot be read"),
        (
            "a.xml",
            '<?xml version="1.0" encoding="utf-99"?><TiltSeries/>',
            r"tilt angles cannot be read \(unknown encoding",
        ),
        ("a.tlt", "x" * 5000, r"float: 'x{100,200}\)"),
        (
            "a.xml",
            WARP.format(inverted="False", use="<UseTilt>True</UseTilt>"),
            "3 angles, but 1 marks of use",
        ),
        ("a.star", "data_\nloop_\n_x #1\n1\n", "no column rlnTomoYTilt or rlnTomoNominalStageTiltAngle"),
        (
            "a.csv",
            "1\n",
            r"cannot be read from a file with the suffix '.csv'; give a file with one of the suffixes .tlt, .rawtlt, .mdoc",
        ),
    ],
)
def test_what_holds_no_tilts_is_told(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        read_tilt_range(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.tlt", "a.mdoc", "a.aln", "a.xml", "a.star"])
def test_a_file_too_large_for_tilt_angles_is_refused_unread(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(FileError, match=f"{name}: is larger than 100 MB; correct the path"):
        read_tilt_range(tmp_path / name)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["a.tlt", "a.mdoc", "a.aln", "a.star"])
def test_a_megabyte_of_blank_lines_is_read_in_linear_time(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n" * 500_000 + " " * 500_000)
    with pytest.raises(FileError):
        read_tilt_range(tmp_path / name)


@pytest.mark.parametrize(
    ("tomogram", "beside", "found"),
    [
        ("TS_01.mrc", ["TS_01.rawtlt", "TS_01.tlt", "TS_01.mdoc"], "TS_01.tlt"),
        ("TS_01_full_rec.mrc", ["TS_01.rawtlt"], "TS_01.rawtlt"),
        ("TS_01_10.00Apx.mrc", ["TS_01.xml"], "TS_01.xml"),
        ("TS_01_Vol.mrc", ["TS_01.aln", "TS_01.mdoc"], "TS_01.aln"),
        ("TS_01.rec", ["TS_01.st.mdoc"], "TS_01.st.mdoc"),
        ("TS_01.mrc", ["TS_02.tlt", "TS.tlt"], None),
        ("sample_01.mrc", ["sample.tlt"], None),
    ],
)
def test_files_beside_a_tomogram(tmp_path: Path, tomogram: str, beside: list[str], found: str | None) -> None:
    for name in beside:
        (tmp_path / name).touch()
    assert find_tilt_file(tmp_path / tomogram) == (None if found is None else tmp_path / found)
