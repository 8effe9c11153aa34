"""The tomogram table: what it may hold, and how its mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryopipe.errors import TableError
from cryopipe.tomograms import Tomogram, find_same_files, find_same_series, read_tomogram_table

HEADER = "tomogram\tpath\tvoxel_size\ttilt_min\ttilt_max\tcontrast\tmask"


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "tomograms.tsv"
    path.write_bytes("\n".join([header, *lines, ""]).encode())
    return path


def test_cells_and_defaults(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "# a comment\u2028of two \x0b paragraphs \x85",
        "TS_01\t/data/a b'$(x)é\".mrc\t13.48\t-52.5\t60\tbright\tmasks/a.mrc",
        "",
        "007\tb.mrc",
        "c-3\tc.mrc\t\t\t45\t\t",
    )
    assert read_tomogram_table(path, (-50.0, 51.0), "dark") == {
        "TS_01": Tomogram("TS_01", "/data/a b'$(x)é\".mrc", 13.48, (-52.5, 60), "bright", "masks/a.mrc"),
        "007": Tomogram("007", "b.mrc", None, (-50, 51), "dark", None),
        "c-3": Tomogram("c-3", "c.mrc", None, (-50, 45), "dark", None),
    }


def test_columns_about_the_tilt_series(tmp_path: Path) -> None:
    columns = "tomogram\tpath\ttilt_min\ttilt_max\ttilt_axis\teven\ttilt_series\ttilt_series_pixel_size\tunbinned_size"
    path = table(
        tmp_path,
        "a\ta.mrc\t-40\t60\t-x\ta_even.mrc\ta.xml\t1.35\t4000x4096 x 2000",
        "b\tb.mrc",
        header=columns,
    )
    tomograms = read_tomogram_table(path)
    assert tomograms["a"] == Tomogram(
        *("a", "a.mrc", None, (-40, 60)),
        tilt_axis="-x",
        even="a_even.mrc",
        tilt_series="a.xml",
        tilt_series_pixel_size=1.35,
        unbinned_size=(4000, 4096, 2000),
    )
    assert tomograms["a"].tilts == (-60, 40, 1)
    assert tomograms["b"].tilts == (-60, 60)
    for cells, message in (
        ("\t\tz", "tilt_axis 'z'; give y, -y, x or -x"),
        ("\t\t\t\t\t0.01", "tilt_series_pixel_size 0.01; give angstrom, 0.1 to 1000, or leave it blank"),
        ("\t\t\t\t\t\t4000", "unbinned_size '4000'; give pixels along x, y and z, such as 4000x4000x2000"),
    ):
        with pytest.raises(TableError, match=f"line 2: {message}"):
            read_tomogram_table(table(tmp_path, f"a\ta.mrc\t{cells}", header=columns))


def test_files_from_other_editors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes("\ufefftomogram\tpath\r\n a \t a.mrc \r\n".encode())
    assert list(read_tomogram_table(path)) == ["a"]
    assert read_tomogram_table(path)["a"].path == "a.mrc"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a b\tx.mrc", "line 2: tomogram name 'a b'; use letters, digits, '_' and '-' only"),
        ("-a\tx.mrc", "line 2: tomogram name '-a'; use letters"),
        ("../a\tx.mrc", "line 2: tomogram name '../a'; use letters"),
        ("\tx.mrc", "line 2: tomogram name ''; use letters"),
        (
            "Tomograms\tx.mrc",
            "line 2: tomogram name 'Tomograms' is taken by a table of the results; rename it",
        ),
        ("a", "line 2: path is blank; give the MRC file"),
        (
            "a\tx.mrc\t0",
            "line 2: voxel_size 0; give angstrom, 0.1 to 1000, or leave it blank for the header's",
        ),
        ("a\tx.mrc\t-5", "line 2: voxel_size -5; give angstrom"),
        ("a\tx.mrc\t1,2", "line 2: voxel_size '1,2' is not a number; give a number or leave it blank"),
        ("a\tx.mrc\tnan", "line 2: voxel_size 'nan' is not a number"),
        (
            "a\tx.mrc\t\t60\t-60",
            "line 2: tilt range 60 to -60; give degrees with -90 <= tilt_min < tilt_max <= 90",
        ),
        ("a\tx.mrc\t\t-91\t", "line 2: tilt range -91 to 60; give degrees"),
        ("a\tx.mrc\t\t\t\tblack", "line 2: contrast 'black'; give dark or bright"),
        ("a\tx.mrc\t\t\t\t\t\tmore", "line 2: 8 cells for 7 columns; remove extra tabs"),
        (
            "TS_01.5\tx.mrc",
            "line 2: tomogram name 'TS_01.5'; use letters, digits, '_' and '-' only; other programs' name for it "
            "goes into the column exported_name",
        ),
        ("A\tx.mrc\na\ty.mrc", "line 3: tomogram 'a' is in the table twice; rename one"),
        ("", "no tomograms; add one line per tomogram below the header"),
    ],
)
def test_mistakes_in_rows(tmp_path: Path, row: str, message: str) -> None:
    path = table(tmp_path, *row.split("\n"))
    with pytest.raises(TableError) as caught:
        read_tomogram_table(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "tomogram\tpath\tvoxelsize",
            "line 1: unknown column 'voxelsize'; known: tomogram, path, voxel_size",
        ),
        (
            "tomogram\tpath\tTilt\tMask",
            "line 1: unknown column 'Tilt', 'Mask'; known: tomogram, path, voxel_size",
        ),
        (
            "tomogram path",
            "line 1: unknown column 'tomogram path'; separate columns by one tab; known: tomogram, path",
        ),
        ("tomogram", "line 1: no column 'path'; add it, separated by one tab"),
        ("", "the table is empty; its first line must be: tomogram<tab>path<tab>voxel_size"),
    ],
)
def test_mistakes_in_the_header(tmp_path: Path, header: str, message: str) -> None:
    path = table(tmp_path, header=header)
    with pytest.raises(TableError) as caught:
        read_tomogram_table(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = table(tmp_path, "a b\tx.mrc\t0", "c\ty.mrc\t\t\t\tgrey")
    with pytest.raises(TableError) as caught:
        read_tomogram_table(path)
    assert str(caught.value).count("line 2: ") == 2
    assert str(caught.value).count("line 3: ") == 1
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: line ") for line in lines)


def test_of_very_many_mistakes_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    path = table(tmp_path, *["a b\tx.mrc"] * 5000)
    with pytest.raises(
        TableError, match=r"line 21: tomogram name 'a b'.*\n.*: 4980 more mistakes$"
    ) as caught:
        read_tomogram_table(path)
    assert "line 22: " not in str(caught.value)


def test_a_long_mistake_is_shown_without_its_middle(tmp_path: Path) -> None:
    path = tmp_path / "tomograms.tsv"
    path.write_text("\t".join(f"column_{number}" for number in range(50_000)) + "\n")
    with pytest.raises(
        TableError, match=r"line 1: unknown column 'column_0', .* \.\.\. .*; known: tomogram"
    ) as caught:
        read_tomogram_table(path)
    assert all(len(line) < 600 for line in str(caught.value).removeprefix(str(path)).split("\n"))


def test_a_file_too_large_for_a_table_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "t.tsv").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(TableError, match=r"t\.tsv: is larger than 10 MB; correct the path"):
        read_tomogram_table(tmp_path / "t.tsv")


def test_missing_and_unreadable_tables(tmp_path: Path) -> None:
    with pytest.raises(
        TableError, match=r"no such file; run `cryopipe init` or set `tomograms` in config.yaml"
    ):
        read_tomogram_table(tmp_path / "none.tsv")
    (tmp_path / "t.tsv").write_bytes(b"\xff\xfet\x00")
    with pytest.raises(
        TableError, match=r"is not UTF-8 text \(invalid start byte at byte 0\); save it as UTF-8 text"
    ):
        read_tomogram_table(tmp_path / "t.tsv")


def test_the_name_that_other_programs_use(tmp_path: Path) -> None:
    header = "tomogram\tpath\texported_name"
    path = table(tmp_path, "TS_01\ta.mrc\tL1_G1.2_TS_01", "TS_02\tb.mrc\t", header=header)
    assert [t.exported_name for t in read_tomogram_table(path).values()] == ["L1_G1.2_TS_01", None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a\ta.mrc\tx y"], "line 2: exported_name 'x y'; give one word without '/' and quotes, or leave it"),
        (["a\ta.mrc\t../x"], "line 2: exported_name '../x'; give one word"),
        (["a\ta.mrc\t_x"], "line 2: exported_name '_x'; give one word"),
        (
            ["a\ta.mrc\tx", "b\tb.mrc\tx"],
            "line 3: exported_name 'x' is also in an earlier line; give each",
        ),
        (
            ["a\ta.mrc\t", "b\tb.mrc\ta"],
            "line 3: exported_name 'a' is also in an earlier line; give each",
        ),
    ],
)
def test_mistakes_in_exported_names(tmp_path: Path, rows: list[str], message: str) -> None:
    path = table(tmp_path, *rows, header="tomogram\tpath\texported_name")
    with pytest.raises(TableError) as caught:
        read_tomogram_table(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_volumes_of_one_tilt_series_are_found_by_their_names() -> None:
    paths = {"a": "d/TS_01_EVN.mrc", "b": "d/TS_01_Vol.mrc", "c": "d/odd/TS_01.mrc", "d": "d/TS_02_Vol.mrc"}
    paths |= {"e": "other/TS_01.mrc", "f": "d/TS_02_Vol.mrc"}
    tomograms = {name: Tomogram(name, path, None, (-60, 60), "dark", None) for name, path in paths.items()}
    found = find_same_series(tomograms)
    assert found == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"], "d": [], "e": [], "f": []}


def test_causes_of_unreadable_tables_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, "a\ta.mrc")
    (tmp_path / "loop").symlink_to("loop")
    for place, message in (
        (tmp_path, "is a directory; give a file in it"),
        (path / "t.tsv", "is not a usable path (Not a directory); correct the path"),
        (tmp_path / "loop", "is not a usable path (Too many levels of symbolic links); correct the path"),
        (tmp_path / ("x" * 300), "is not a usable path (File name too long); correct the path"),
    ):
        with pytest.raises(TableError) as caught:
            read_tomogram_table(place)
        assert str(caught.value) == f"{place}: {message}"

    def locked(*arguments: object, **options: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", locked)
    with pytest.raises(
        TableError, match="may not be read; change its permissions, or its directory's: chmod"
    ):
        read_tomogram_table(path)


def test_cells_in_quotes_as_spreadsheets_save_them_are_read(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        '"TS_01"\t"/data/a ""b"" c.mrc"\t13.48\t\t""\t"bright"',
        "b\tb.mrc",
        header='"tomogram"\t"path"\t"voxel_size"\t"tilt_min"\t"tilt_max"\t"contrast"',
    )
    assert read_tomogram_table(path) == {
        "TS_01": Tomogram("TS_01", '/data/a "b" c.mrc', 13.48, (-60, 60), "bright", None),
        "b": Tomogram("b", "b.mrc", None, (-60, 60), "dark", None),
    }


def test_names_of_files_that_cannot_be_are_told(tmp_path: Path) -> None:
    with pytest.raises(
        TableError, match=r"line 2: path 'a\\x00.mrc' holds control characters; rename the file"
    ):
        read_tomogram_table(table(tmp_path, "a\ta\0.mrc"))


def test_a_cell_of_any_length_is_read(tmp_path: Path) -> None:
    assert len(read_tomogram_table(table(tmp_path, f"a\t{'x' * 200_000}"))["a"].path) == 200_000


def test_twins_are_told_beside_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    paths = {"a": "loop/a.mrc", "b": "file/a.mrc", "c": "x" * 300, "d": "file", "e": "./file"}
    tomograms = {n: Tomogram(n, f"{tmp_path}/{p}", None, (-60, 60), "dark", None) for n, p in paths.items()}
    assert find_same_files(tomograms) == {"a": [], "b": [], "c": [], "d": ["e"], "e": ["d"]}


def test_twins_are_found_through_links_and_detours(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").touch()
    (tmp_path / "link.mrc").symlink_to(tmp_path / "a.mrc")
    paths = {"a": "a.mrc", "b": "link.mrc", "c": "x/../a.mrc", "d": "d.mrc"}
    tomograms = {
        name: Tomogram(name, str(tmp_path / path), None, (-60, 60), "dark", None)
        for name, path in paths.items()
    }
    assert find_same_files(tomograms) == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"], "d": []}
