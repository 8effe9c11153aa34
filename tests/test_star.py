"""STAR files: what is written is read back, by us and by others, and what cannot be kept is refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryopipe.columns import COORDINATES, TOMOGRAM
from cryopipe.errors import DataError, FileError
from cryopipe.files import star
from cryopipe.files.star import read_particles, read_star, write_particles, write_star
from cryopipe.files.star_loop import read_plain_loop

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)


def particles() -> pd.DataFrame:
    return pd.DataFrame(
        {
            TOMOGRAM: ["007", "data_2", "nan"],
            "rlnMicrographName": ["/data/John's run/a.mrc", 'in "quotes".mrc', "#1.mrc"],
            COORDINATES[0]: [1.5, 1234.123456, 0.0],
            "cryopipePosterior": [1e-9, 0.123456789, 1.0],
            "rlnClassNumber": [0, 1, 12],
            "rlnComment": ["", "a b", "_x"],
        }
    )


def test_round_trip_keeps_text_and_numbers(tmp_path: Path) -> None:
    write_particles(tmp_path / "p.star", particles())
    read = read_particles(tmp_path / "p.star")
    pd.testing.assert_frame_equal(read, particles(), check_dtype=False, rtol=1e-9, atol=0)
    assert read["rlnClassNumber"].dtype == np.int64
    assert read[COORDINATES[0]].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "rows"), [("007", [0]), ("data_2", [1]), ("nan", [2]), ("in", []), ("07", [])]
)
def test_the_particles_of_one_tomogram(tmp_path: Path, name: str, rows: list[int]) -> None:
    write_particles(tmp_path / "p.star", particles(), optics=pd.DataFrame({"rlnOpticsGroup": [1]}))
    read = read_particles(tmp_path / "p.star", name)
    assert list(read.columns) == list(particles().columns)
    assert read[TOMOGRAM].tolist() == particles()[TOMOGRAM].iloc[rows].tolist()
    assert read["rlnComment"].tolist() == particles()["rlnComment"].iloc[rows].tolist()


def test_rows_of_other_tomograms_are_not_even_looked_at(tmp_path: Path) -> None:
    write_particles(tmp_path / "p.star", particles())
    text = (tmp_path / "p.star").read_text().replace("007 ", "other far too many values for a row ")
    (tmp_path / "p.star").write_text(text)
    assert len(read_particles(tmp_path / "p.star", "nan")) == 1
    with pytest.raises(FileError, match="values for 6 columns"):
        read_particles(tmp_path / "p.star")


def test_the_file_is_plain(tmp_path: Path) -> None:
    table = pd.DataFrame({"rlnTomoName": ["a"], "rlnCoordinateX": [2.25], "rlnRandomSubset": [1]})
    write_particles(tmp_path / "p.star", table, optics=pd.DataFrame({"rlnOpticsGroup": [1]}))
    assert (tmp_path / "p.star").read_bytes() == (
        b"# written by cryopipe\n\n"
        b"data_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\n\n"
        b"data_particles\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnRandomSubset #3\na 2.250000 1\n\n"
    )


def test_starfile_reads_what_we_write(tmp_path: Path) -> None:
    table = particles()[[COORDINATES[0], "cryopipePosterior", "rlnClassNumber"]]
    table[TOMOGRAM] = ["a", "b c", "d"]
    write_star(
        tmp_path / "p.star", {"particles": table, "general": {"rlnFinalResolution": 9.5, "rlnMaskName": "m"}}
    )
    read = starfile.read(tmp_path / "p.star")
    pd.testing.assert_frame_equal(read["particles"], table, check_dtype=False, rtol=1e-9)
    assert read["general"] == {"rlnFinalResolution": 9.5, "rlnMaskName": "m"}


def test_we_read_what_starfile_writes(tmp_path: Path) -> None:
    table = pd.DataFrame({"rlnTomoName": ["a", "b c"], "x": [1.5, 2.5], "n": [1, 2]})
    starfile.write({"particles": table}, tmp_path / "p.star")
    pd.testing.assert_frame_equal(read_particles(tmp_path / "p.star"), table, check_dtype=False)


def test_blocks_of_single_values(tmp_path: Path) -> None:
    write_star(tmp_path / "f.star", {"general": {"name": "007", "size": 40, "resolution": 12.5}})
    (row,) = read_star(tmp_path / "f.star")["general"].to_dict("records")
    assert row == {"name": "007", "size": 40, "resolution": 12.5}


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write_particles(tmp_path / "p.star", particles().iloc[:0], optics=pd.DataFrame({"rlnOpticsGroup": [1]}))
    read = read_particles(tmp_path / "p.star")
    assert len(read) == 0
    assert list(read.columns) == list(particles().columns)
    assert list(starfile.read(tmp_path / "p.star")["particles"].columns) == list(particles().columns)


FLOATS = st.floats(-1e300, 1e300)


@quick
@given(values=st.lists(FLOATS, min_size=1))
@example(values=[0.002233487652367153])
def test_numbers_keep_six_decimals_and_seven_digits(tmp_path: Path, values: list[float]) -> None:
    write_star(tmp_path / "p.star", {"": pd.DataFrame({"x": values})})
    read = read_star(tmp_path / "p.star")[""]["x"].to_numpy()
    error = np.abs(read - values)
    assert (error <= np.maximum(5.01e-7, 1e-7 * np.abs(values))).all()
    assert (error[np.abs(values) < 1] <= 1e-7 * np.abs(values)[np.abs(values) < 1]).all()


LETTERS = st.sampled_from(" '\"#_;d") | st.characters(exclude_categories=["C", "Z"])
TEXT = st.text(LETTERS).filter(lambda text: "' " not in text or '" ' not in text)


@quick
@given(values=st.lists(TEXT, min_size=1))
def test_text_survives(tmp_path: Path, values: list[str]) -> None:
    table = pd.DataFrame({TOMOGRAM: values, "rlnImageName": values[::-1]})
    write_particles(tmp_path / "p.star", table)
    pd.testing.assert_frame_equal(read_particles(tmp_path / "p.star"), table, check_dtype=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "x is nan, which RELION would read as 0"),
        (float("inf"), "x is inf, which RELION would read as 0"),
        (None, "x is None, which a STAR file cannot contain"),
        (
            "two\nlines",
            r"x is 'two\\nlines': a STAR file cannot contain line breaks, tabs or control characters",
        ),
        ("a\tb", r"x is 'a\\tb': a STAR file cannot contain line breaks"),
        ("' and \" .mrc", "a STAR file cannot contain both single and double quotes before blanks"),
        ("\u2028", "a STAR file cannot contain line breaks"),
    ],
)
def test_values_that_would_be_lost_are_refused(tmp_path: Path, value: object, message: str) -> None:
    table = pd.DataFrame({"x": pd.Series([1.0 if isinstance(value, float) else "a", value], dtype=object)})
    with pytest.raises(DataError, match=message):
        write_particles(tmp_path / "p.star", table)
    assert os.listdir(tmp_path) == []


def test_tables_and_columns_that_star_cannot_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'two words' cannot be a column of a STAR file"):
        write_particles(tmp_path / "p.star", pd.DataFrame({"two words": [1]}))
    with pytest.raises(DataError, match="a STAR table needs at least one column"):
        write_particles(tmp_path / "p.star", pd.DataFrame())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; correct the path"),
        (b"", "is not a STAR file: it has no data_ block"),
        (
            b"\xff\xfe\x00\x01" * 300,
            r"is not UTF-8 text \(invalid start byte at byte 0\); save it as UTF-8 text",
        ),
        (
            b"data_\nloop_\n_a #1\n_b #2\n1 2\n3\n",
            "line 6 has 1 values for 2 columns; the file is truncated or was edited by hand; write it again",
        ),
        (b"data_\nloop_\n_a #1\n1 2\n", "line 4 has 2 values for 1 columns"),
        (b"data_\n_a 1 2\n", "line 2 is not a label and its value: '_a 1 2'"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "p.star").write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_star(tmp_path / "p.star")


ODD_VALUES = [
    "007",
    "-01",
    "+00",
    "0",
    "-0",
    "00.5",
    "1.",
    ".5",
    ".",
    "+",
    "-",
    "e",
    "1e5",
    "1E+5",
    "1e-05",
    "1e400",
    "-1e400",
    "1d5",
    "1_000",
    "0x10",
    "1,5",
    "nan",
    "NaN",
    "-nan",
    "inf",
    "Infinity",
    "NA",
    "N/A",
    "None",
    "null",
    "True",
    "false",
    "123456789012345678",
    "1234567890123456789",
    "9223372036854775807",
    "99999999999999999999",
    "1e18",
    "0.1234567890123456789",
    "000001@Extract/job007/a.mrcs",
    "2026-11-27",
    "12:30:45",
    "1+2j",
    "١",
    "а",
    "_x",
    "loop_",
    "$1",
    ";",
    "[a]",
]
VALUES = (
    st.sampled_from(ODD_VALUES) | st.text("0123456789+-.eE", min_size=1, max_size=22) | st.floats().map(repr)
)


@settings(quick, max_examples=200)
@given(data=st.data(), width=st.integers(1, 4))
@example(data=None, width=2)
def test_plain_loops_read_as_the_grammar_reads_them(data: st.DataObject | None, width: int) -> None:
    names = ["a", "rlnTomoName", "b", "c"][:width]
    if data is None:
        rows = [[value, value] for value in ODD_VALUES]
    else:
        column = st.lists(
            st.sampled_from(data.draw(st.lists(VALUES, min_size=1, max_size=3))), min_size=4, max_size=4
        )
        rows = [list(row) for row in zip(*(data.draw(column) for _ in names), strict=True)]
    lines = ["\t ".join(row) + "  " for row in rows]
    expected = star._parse_rows(Path("x"), names, star._numbered(lines, 1))
    plain = read_plain_loop(names, ["", *lines, " "])
    assert plain is not None
    pd.testing.assert_frame_equal(plain, expected, check_exact=True)


@pytest.mark.parametrize(
    "lines",
    [["1 2", "3"], ["1", "2 3"], ["1 2 3", "4 5 6"], ["1 2", "3 4 5"], ["a b", "'c d' e"], ["a b # c"], ["a\x0bb"],
     ["a\u3000b"], ["a \x00b"], [""]],
)  # fmt: skip
def test_loops_that_are_not_plain_are_left_to_the_grammar(lines: list[str]) -> None:
    assert read_plain_loop(["x", "y"], lines) is None


@settings(quick, max_examples=25)
@given(
    floats=st.lists(st.floats(-1e9, 1e9).map(lambda value: round(value, 9)), min_size=3, max_size=3),
    integers=st.lists(st.integers(-(10**17), 10**17), min_size=3, max_size=3),
    names=st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9_./@-]{3,8}", fullmatch=True), min_size=3, max_size=3),
)
def test_plain_loops_read_as_starfile_reads_them(
    tmp_path: Path, floats: list[float], integers: list[int], names: list[str]
) -> None:
    texts = [f"x{name}" for name in names]
    write_particles(tmp_path / "p.star", pd.DataFrame({TOMOGRAM: texts, "x": floats, "n": integers}))
    other = starfile.read(tmp_path / "p.star", always_dict=True)["particles"]
    pd.testing.assert_frame_equal(read_particles(tmp_path / "p.star"), other, check_dtype=False)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('"a ' * 40_000, ['"a'] * 40_000),
        ("' " * 20_001, [" "] * 10_000 + ["'"]),
        ("'" * 40_000, ["'" * 39_998]),
        ("\"'" * 20_000, ["\"'" * 20_000]),
    ],
)
def test_lines_of_repeated_quotes_take_no_longer_than_others(text: str, values: list[str]) -> None:
    begin = time.process_time()
    assert star._tokens(text) == values
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "data_a\nloop_\n_x #1\n_y\n_x #3\n1 2 3\n",
            "line 5 repeats the column x; rename or remove one of them",
        ),
        ("data_a\n_x 1\n_x 2\n", "line 3 repeats the column x"),
        (
            "data_a\n_x 1\ndata_b\n_x 1\ndata_a\n_x 2\n",
            "line 5 is the beginning of a second block data_a; rename or remove",
        ),
    ],
)
def test_what_is_named_twice_is_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.star").write_text(content)
    with pytest.raises(FileError, match=message):
        read_star(tmp_path / "p.star")


def test_layouts_that_other_programs_write_are_read(tmp_path: Path) -> None:
    content = (
        "\ufeff# version 30001\r\n\r\ndata_particles # comment\r\n\r\nloop_ \r\n_rlnTomoName #1\r\n_x#2\r\n"
        "\r\n  TS_01\t 1e-3  \r\n\r\n  'TS 02'   -2.   # last\r\n\r\n"
    )
    (tmp_path / "p.star").write_bytes(content.encode())
    expected = pd.DataFrame({"rlnTomoName": ["TS_01", "TS 02"], "x": [0.001, -2.0]})
    pd.testing.assert_frame_equal(read_particles(tmp_path / "p.star"), expected, check_dtype=False)


def test_particles_without_their_block_are_told(tmp_path: Path) -> None:
    write_star(tmp_path / "p.star", {"optics": {"a": 1}, "global": {"b": 2}})
    with pytest.raises(FileError, match="has no block data_particles, but data_optics, data_global"):
        read_particles(tmp_path / "p.star")


def test_real_files_read_as_starfile_reads_them(shared_data: Path) -> None:
    paths = sorted((shared_data / "metadata").rglob("*.star"))
    assert len(paths) > 10
    for path in paths:
        others = starfile.read(path, always_dict=True)
        ours = read_star(path)
        assert list(ours) == list(others)
        for name, table in ours.items():
            other = others[name]
            frame = other if isinstance(other, pd.DataFrame) else pd.DataFrame([other])
            pd.testing.assert_frame_equal(table, frame, check_dtype=False, obj=f"{path} {name}")


def test_real_files_survive_a_round_trip(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "metadata").rglob("*.star")):
        blocks = read_star(path)
        write_star(tmp_path / "copy.star", blocks)
        copies = read_star(tmp_path / "copy.star")
        assert list(copies) == list(blocks)
        for name, table in blocks.items():
            pd.testing.assert_frame_equal(copies[name], table, rtol=1e-7, obj=f"{path} {name}")
