"""The console command: init sets up a dataset from anybody's files, check tells what is wrong."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import cryopipe
from cryopipe.cli import main
from cryopipe.cli.rows import find_tomograms, unique_names
from cryopipe.config import CHECKOUT, defaults, read_config
from cryopipe.errors import TableError
from cryopipe.files.mrc import write_volume
from cryopipe.tomograms import NAME, Tomogram, read_tomogram_table


def write_tomogram(path: Path, voxel_size: float = 13.0, seed: int = 0) -> Path:
    volume = np.random.default_rng(seed).normal(size=(20, 32, 32)).astype(np.float32)
    write_volume(path, volume, voxel_size)
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and checksum of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two tomograms, one with its tilt angles beside it, and a tilt series that is none."""
    write_tomogram(tmp_path / "data" / "TS_01.mrc")
    write_tomogram(tmp_path / "data" / "TS_02_rec.mrc", 13.48, seed=1)
    (tmp_path / "data" / "TS_02.tlt").write_text("-50\n0\n52.5\n")
    (tmp_path / "data" / "TS_02.st").write_bytes(b"a tilt series")
    return tmp_path / "data"


def test_init_writes_a_dataset_that_reads_back(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before = state(data)
    dataset = tmp_path / "new dataset"
    assert run("init", dataset, data, "--contrast", "bright") == 0
    assert set(state(dataset)) == {
        "Snakefile",
        "config/config.yaml",
        "config/tomograms.tsv",
        "slurm/profile.v9+.yaml",
    }
    tomograms = read_tomogram_table(dataset / "config" / "tomograms.tsv", (-60.0, 60.0), "bright")
    assert tomograms == {
        "TS_01": Tomogram("TS_01", str(data / "TS_01.mrc"), None, (-60, 60), "bright", None),
        "TS_02": Tomogram(
            *("TS_02", str(data / "TS_02_rec.mrc"), None, (-50, 52.5), "bright", None),
            tilt_series=str(data / "TS_02.tlt"),
        ),
    }
    expected = defaults()
    expected["imaging"]["contrast"] = "bright"
    assert read_config(dataset / "config" / "config.yaml") == expected
    assert (dataset / "slurm" / "profile.v9+.yaml").read_text() == (
        CHECKOUT / "workflow" / "profiles" / "slurm" / "profile.v9+.yaml"
    ).read_text()
    assert str(CHECKOUT) not in (dataset / "Snakefile").read_text()  # a checkout may move
    assert state(data) == before
    out = capsys.readouterr().out
    assert out.startswith(f"2 tomograms in {dataset}/config/tomograms.tsv, 1 with a tilt range from a file\n")
    assert f"cd '{dataset}'" in out


def test_init_does_not_overwrite_unless_forced(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    (dataset / "config").mkdir(parents=True)
    (dataset / "config" / "config.yaml").write_text("seed: 7\n")
    before = state(dataset)
    assert run("init", dataset, data) == 1
    assert state(dataset) == before
    assert capsys.readouterr().err == (
        f"Error: {dataset}/config/config.yaml: would be overwritten; give --add to add tomograms, --force to replace "
        "them (copies are kept), or another directory\n"
    )
    (dataset / "config" / "mine.txt").write_text("mine")
    assert run("init", dataset, data, "--force") == 0
    assert yaml.safe_load((dataset / "config" / "config.yaml").read_text())["seed"] == 1
    assert (dataset / "config" / "mine.txt").read_text() == "mine"


def test_force_keeps_a_dated_copy_of_what_was_edited(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    assert run("init", dataset, data) == 0
    capsys.readouterr()
    before = state(dataset)
    assert run("init", dataset, data, "--force") == 0  # nothing differs, nothing is kept
    assert state(dataset) == before
    assert "Replaced" not in capsys.readouterr().out
    for times in (1, 2):  # within one second
        for name in ("Snakefile", "config/config.yaml", "slurm/profile.v9+.yaml"):
            (dataset / name).write_text(f"mine {times}")
        (dataset / "config" / "tomograms.tsv").unlink()
        (dataset / "config" / "tomograms.tsv").symlink_to("nowhere.tsv")
        assert run("init", dataset, data, "--force") == 0
        kept = re.search(r"^Replaced files are kept in (.*)$", capsys.readouterr().out, re.M)
        assert kept is not None
        assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_2)?", Path(kept[1]).name)
        for name in ("Snakefile", "config/config.yaml", "slurm/profile.v9+.yaml"):
            assert (Path(kept[1]) / name).read_text() == f"mine {times}"
        assert (Path(kept[1]) / "config" / "tomograms.tsv").readlink() == Path("nowhere.tsv")
    assert len(list((dataset / "replaced").iterdir())) == 2
    assert {name: entry[2] for name, entry in state(dataset).items() if name in before} == {
        name: entry[2] for name, entry in before.items()
    }


def test_add_appends_rows_and_keeps_every_edit(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    (dataset / "config").mkdir(parents=True)
    table, config = dataset / "config" / "tomograms.tsv", dataset / "config" / "config.yaml"
    text = (
        "# mine,\u2028alone\r\npath\ttomogram\tmask\r\n../data/TS_02_rec.mrc\tsecond\tm.mrc\r\n# bad one\r\n"
        f"# first\t{data}/TS_01.mrc\t\r\n../x.mrc\tTS_07"
    )
    table.write_bytes(text.encode())
    config.write_text("seed: 7  # mine\n")
    unchanged = config.read_bytes()
    more = write_tomogram(tmp_path / "more" / "TS_07.mrc", 1.0)
    (tmp_path / "more" / "TS_07.tlt").write_text("-40\n0\n40\n")
    write_tomogram(data / "TS_02_EVN.mrc")
    (tmp_path / "more" / "TS_08.mrc").write_text("text")
    assert run("init", dataset, data, more.parent, "--add", "--voxel-size", "12", "--contrast", "bright") == 0
    assert config.read_bytes() == unchanged
    assert not (dataset / "Snakefile").exists()
    heading = text.replace(
        "tomogram\tmask", "tomogram\tmask\tvoxel_size\ttilt_min\ttilt_max\tcontrast\ttilt_series"
    )
    assert table.read_bytes().decode().startswith(heading + "\r\n")
    added = table.read_bytes().decode().removeprefix(heading + "\r\n").split("\r\n")
    assert added[0] == f"{more}\tmore_TS_07\t\t12\t-40\t40\tbright\t{more.with_suffix('.tlt')}"
    assert added[1].startswith(f"# left out: {more.parent}/TS_08.mrc: is not an MRC file")
    assert added[2].startswith(f"# {more.parent}/TS_08.mrc\tTS_08\t")
    assert added[3:] == [""]
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"1 tomogram added to {table}, 1 with a tilt range from a file"
    assert f"  left out: {data}/TS_02_rec.mrc: in the table as second" in out
    assert f"  left out: {data}/TS_01.mrc: its line in the table is commented out" in out
    assert f"  left out: {data}/TS_02_EVN.mrc: of the same tilt series as second in the table" in out
    again = table.read_bytes()
    assert run("init", dataset, data, more, "--add") == 0
    assert table.read_bytes() == again
    assert capsys.readouterr().out.startswith(f"0 tomograms added to {table}\n")


def test_one_volume_of_each_tilt_series_is_taken_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "in"
    names = ["TS_01_Vol", "TS_01_EVN_Vol", "TS_01_ODD_Vol", "TS_01_2ND_Vol", "rec_b_TS.2", "rec_b_TS.2_half1"]
    for number, name in enumerate([*names, "c_5.00Apx", "c_10.00Apx", "d_ali"]):
        write_tomogram(folder / f"{name}.mrc", 5.0 if name == "c_5.00Apx" else 10.0, seed=number)
    write_tomogram(folder / "e.rec").rename(folder / "e.st")
    (folder / "._TS_01_Vol.mrc").write_text("not for us")
    halves = write_tomogram(folder / "even" / "c_10.00Apx.mrc")
    assert run("init", tmp_path / "dataset", folder, halves) == 0
    table = tmp_path / "dataset" / "config" / "tomograms.tsv"
    taken = {"TS_01": ("TS_01_Vol", None), "b_TS_2": ("rec_b_TS.2", "b_TS.2"), "c": ("c_10.00Apx", None)}
    assert read_tomogram_table(table) == {
        name: Tomogram(name, f"{folder}/{stem}.mrc", None, (-60, 60), "dark", None, exported)
        for name, (stem, exported) in taken.items()
    }
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"3 tomograms in {table}"
    assert set(out[1:10]) == {
        f"  left out: {folder}/{reason}"
        for reason in (
            "._TS_01_Vol.mrc: a hidden file",
            "TS_01_EVN_Vol.mrc: half of the data (_EVN); TS_01_Vol.mrc is taken",
            "TS_01_ODD_Vol.mrc: half of the data (_ODD); TS_01_Vol.mrc is taken",
            "TS_01_2ND_Vol.mrc: another volume of the tilt series (_2ND); TS_01_Vol.mrc is taken",
            "rec_b_TS.2_half1.mrc: half of the data (_half1); rec_b_TS.2.mrc is taken",
            "c_5.00Apx.mrc: the same tilt series at another binning or under another name; c_10.00Apx.mrc is taken",
            "d_ali.mrc: a stack of images (_ali)",
            "e.st: a stack of images (.st)",
            "even/c_10.00Apx.mrc: half of the data (even/); c_10.00Apx.mrc is taken",
        )
    }
    assert run("init", tmp_path / "all", folder, halves, "--all") == 0
    assert len(read_tomogram_table(tmp_path / "all" / "config" / "tomograms.tsv")) == 11
    assert run("init", tmp_path / "none", folder / "e.st") == 1
    assert f"{folder}/e.st: a stack of images (.st); give --all" in capsys.readouterr().err


def test_check_warns_of_volumes_of_one_tilt_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for number, name in enumerate(("a_EVN", "a_ODD", "a", "b")):
        write_tomogram(tmp_path / f"{name}.mrc", seed=number)
    assert run("init", tmp_path / "dataset", tmp_path, "--all") == 0
    monkeypatch.chdir(tmp_path / "dataset")
    capsys.readouterr()
    assert run("check") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        f"a_EVN: warning: {tmp_path}/a_EVN.mrc: is from the same tilt series as tomogram a_ODD, a (_EVN in its name): "
        "its particles are counted twice; keep one volume of each tilt series in the tomogram table"
    ) in [line.replace("a, a_ODD", "a_ODD, a") for line in lines]
    assert lines[-1] == "4 tomograms: 1 ok, 3 warning"


def test_init_leaves_out_what_cannot_be_used_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (data / "TS_03.mrc").write_bytes((data / "TS_01.mrc").read_bytes()[:5000])
    write_tomogram(data / "TS_04.mrc", 1.0)
    assert run("init", tmp_path / "dataset", data) == 0
    table = (tmp_path / "dataset" / "config" / "tomograms.tsv").read_text()
    assert list(read_tomogram_table(tmp_path / "dataset" / "config" / "tomograms.tsv")) == [
        "TS_01",
        "TS_02",
        "TS_04",
    ]
    assert f"\n# TS_03\t{data}/TS_03.mrc\t" in table
    out = capsys.readouterr().out
    assert f"  left out: {data}/TS_03.mrc: is truncated: 5,000 bytes, but" in out
    assert "  TS_04: voxel size in the header is 1 A, which most programs write if it is unknown" in out


def test_init_fills_in_a_voxel_size_only_where_headers_do_not_know_it(data: Path, tmp_path: Path) -> None:
    write_tomogram(data / "TS_03.mrc", 1.0)
    assert run("init", tmp_path / "dataset", data, "--voxel-size", "12") == 0
    tomograms = read_tomogram_table(tmp_path / "dataset" / "config" / "tomograms.tsv")
    assert [t.voxel_size for t in tomograms.values()] == [None, None, 12.0]


def test_init_does_not_stumble_over_a_broken_tilt_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (data / "TS_01.rawtlt").write_text("none\n")
    assert run("init", tmp_path / "dataset", data) == 0
    assert (
        f"TS_01: tilt range left blank: {data}/TS_01.rawtlt: tilt angles cannot be read"
        in capsys.readouterr().out
    )
    assert read_tomogram_table(tmp_path / "dataset" / "config" / "tomograms.tsv")["TS_01"].tilt_range == (
        -60,
        60,
    )


def test_init_suspects_a_tilt_series(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (data / "TS_01.tlt").write_text("\n".join(str(3 * number) for number in range(20)))
    assert run("init", tmp_path / "dataset", data) == 0
    remark = f"  TS_01: has as many sections as {data}/TS_01.tlt has tilts; is it the tilt series itself?"
    assert remark in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("init", "DIR/new", "DIR/none.mrc"), 1, "Error: DIR/none.mrc: no such file; correct the path"),
        (
            ("init", "DIR/new", "DIR/empty"),
            1,
            "Error: DIR/empty: a directory without .mrc, .rec, .map files; give",
        ),
        (
            ("init", "DIR/a.mrc", "DIR/a.mrc"),
            1,
            "Error: DIR/a.mrc: is a file; name the directory to set up before",
        ),
        (
            ("init", "DIR/new", "DIR/text.mrc"),
            1,
            "Error: DIR/text.mrc: is not an MRC file: 4 bytes, shorter than",
        ),
        (
            ("init", "DIR/a.mrc/new", "DIR/a.mrc"),
            1,
            "Error: DIR/a.mrc/new/config/tomograms.tsv: cannot be written",
        ),
        (
            ("init", "DIR/new", "DIR/a.mrc", "--contrast", "grey"),
            1,
            "Error: contrast 'grey'; give dark or bright",
        ),
        (
            ("init", "DIR/new", "DIR/a.mrc", "--voxel-size", "0"),
            1,
            "Error: voxel size 0; give angstrom, 0.1 to 1000",
        ),
        (("init", "DIR/new"), 2, "Error: Missing argument 'tomograms'; see cryopipe --help"),
        (
            ("init", "DIR/new", "DIR/a.mrc", "--voxel-size", "x"),
            2,
            "Error: Invalid value for '--voxel-size': ",
        ),
        (("chekc",), 2, "Error: No such command 'chekc'"),
        (
            ("check", "--config", "DIR/none.yaml"),
            1,
            "Error: DIR/none.yaml: no such file; run `cryopipe init` to make",
        ),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: tuple[str, ...], status: int, message: str
) -> None:
    write_tomogram(tmp_path / "a.mrc")
    (tmp_path / "text.mrc").write_text("text")
    (tmp_path / "empty").mkdir()
    before = state(tmp_path)
    assert run(*(argument.replace("DIR", str(tmp_path)) for argument in arguments)) == status
    captured = capsys.readouterr()
    assert captured.err.startswith(message.replace("DIR", str(tmp_path)))
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("a b.mrc", "a_b"),
        ("it's quoted.mrc", "it_s_quoted"),
        ("$(touch pwned).mrc", "touch_pwned"),
        ("-rf.mrc", "rf"),
        ("Ångström_Zelle.mrc", "Angstrom_Zelle"),
        ("断层.mrc", "tomogram"),
        ("{tomogram}.mrc", "tomogram"),
        ("a;b&c|d*e?.mrc", "a_b_c_d_e"),
        ("tomograms.mrc", "in_tomograms"),
        ("#1.mrc", "1"),
    ],
)
def test_strange_file_names_go_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, name: str, slug: str
) -> None:
    path = write_tomogram(tmp_path / "in" / name)
    assert run("init", tmp_path / "dataset", tmp_path / "in") == 0
    tomograms = read_tomogram_table(tmp_path / "dataset" / "config" / "tomograms.tsv")
    assert {key: value.path for key, value in tomograms.items()} == {slug: str(path)}
    monkeypatch.chdir(tmp_path / "dataset")
    assert run("check") == 0
    assert "1 tomogram: 1 ok" in capsys.readouterr().out
    assert not (tmp_path / "dataset" / "pwned").exists()


@pytest.mark.parametrize("name", ["a\tb.mrc", "a\nb.mrc", "a\x1b[31m.mrc", "a.mrc "])
def test_names_that_no_table_can_hold_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(
        TableError, match="a table cannot contain a path with tabs, line breaks, control"
    ) as caught:
        find_tomograms([tmp_path / name])
    assert str(caught.value).isprintable()


def test_a_file_given_twice_counts_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    found, left_out = find_tomograms([data / "TS_01.mrc", data, Path("TS_01.mrc")])
    assert found == [data / "TS_01.mrc", data / "TS_02.st", data / "TS_02_rec.mrc"]
    assert left_out == []


def test_names_of_files_with_one_name_take_the_directory() -> None:
    paths = [Path("/x/TS_01/rec.mrc"), Path("/x/TS_02/rec.mrc"), Path("/x/other.mrc")]
    assert unique_names(paths) == ["TS_01_rec", "TS_02_rec", "other"]
    assert unique_names([Path("/a/x.mrc"), Path("/a/X.rec"), Path("/a/x.map")]) == ["a_x", "a_X_2", "a_x_3"]


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1)))
def test_names_are_always_valid_and_unique(stems: list[str]) -> None:
    names = unique_names([Path("/data") / f"{stem}.mrc" for stem in stems])
    assert all(NAME.fullmatch(name) for name in names)
    assert len({name.lower() for name in names}) == len(stems)


def test_check_tells_all_problems_and_its_status(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_tomogram(data / "TS_03.mrc", 1.0)
    (data / "TS_04.mrc").symlink_to(data / "TS_01.mrc")
    dataset = tmp_path / "dataset"
    assert run("init", dataset, data) == 0
    before = state(tmp_path)
    monkeypatch.chdir(dataset)
    capsys.readouterr()
    assert run("check") == 1
    assert state(tmp_path) == before
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"  +", line) for line in lines[:5]] == [
        ["tomogram", "voxels (x, y, z)", "voxel size", "tilts", "contrast", "status"],
        ["TS_01", "32 x 32 x 20", "13 A", "-60 to 60", "dark", "bad"],
        ["TS_02", "32 x 32 x 20", "13.48 A", "-50 to 52.5", "dark", "ok"],
        ["TS_03", "32 x 32 x 20", "unknown", "-60 to 60", "dark", "bad"],
        ["TS_04", "32 x 32 x 20", "13 A", "-60 to 60", "dark", "bad"],
    ]
    assert lines[6].startswith(
        f"TS_01: bad: {data}/TS_01.mrc: is the same file as tomogram TS_04: its particles would"
    )
    assert lines[7].startswith(f"TS_03: bad: {data}/TS_03.mrc: voxel size in the header is 1 A")
    assert lines[8].startswith(f"TS_04: bad: {data}/TS_04.mrc: is the same file as tomogram TS_01")
    assert lines[-1] == "4 tomograms: 1 ok, 3 bad"


def test_check_explains_the_real_tomograms(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = shared_data / "real"
    names = ("apoferritin", "microtubule_13pf", "lysosome")
    assert run("init", tmp_path / "dataset", *(real / f"{name}.mrc" for name in names)) == 0
    monkeypatch.chdir(tmp_path / "dataset")
    assert run("check") == 1
    out = capsys.readouterr().out
    assert "lysosome: bad" in out
    assert "enter the voxel size, in angstrom, in the column voxel_size of the tomogram table" in out
    assert "microtubule_13pf: warning" in out
    assert out.endswith("3 tomograms: 1 ok, 1 warning, 1 bad\n")


def test_the_dataset_runs_as_a_workflow(data: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "data set"
    assert run("init", dataset, data) == 0
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    result = subprocess.run(command, cwd=dataset, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
    assert re.search(r"^check_tomogram +2$", result.stdout + result.stderr, re.MULTILINE)


@pytest.mark.slow
def test_a_run_in_a_dataset_ends_with_its_failed_jobs(data: Path, tmp_path: Path) -> None:
    with (data / "TS_01.mrc").open("r+b") as stream:
        stream.seek(1024)
        stream.write(np.full(9, np.nan, np.float32).tobytes())
    dataset = tmp_path / "dataset"
    assert run("init", dataset, data) == 0
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "results/check/TS_01.tsv"]
    result = subprocess.run(command, cwd=dataset, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.endswith(
        "1 job failed: check_tomogram TS_01 (logs/check_tomogram/TS_01.log). The log holds the traceback. "
        "Fix the problem and run the same command again; completed jobs are kept.\n"
    )


def test_help_is_plain_text(capsys: pytest.CaptureFixture) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in ("init", "check", "simulate", "view", "watch"))
    assert "Open a tomogram or the report.\n" in out
    assert "─" not in out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"cryopipe {cryopipe.__version__}\n"
    assert run("-h") == 0
    assert "--version" in capsys.readouterr().out


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("cryopipe")
    result = subprocess.run(
        [command, "check", "--config", "none.yaml"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: none.yaml: no such file; run `cryopipe init` to make one\n"
