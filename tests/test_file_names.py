"""File names of every kind pass through the workflow or are refused in one line; nothing in a file is ever executed."""

from __future__ import annotations

import ast
import hashlib
import html
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_runs import TWO_JOBS

from cryopipe.cli import main
from cryopipe.config import CHECKOUT
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles, read_star
from cryopipe.files.tables import read_table
from cryopipe.particle_formats import FORMATS

UGLY = '-<b>x & "y" $(touch pwned) `touch pwned` ;touch pwned; é断 #1 {c} %s.mrc'
CONFIG = {
    "subtomograms": {"box_size": 16, "voxel_size": 20},
    "features": {"learner": "transfer"},
    "pick": {"diameters": [160]},
    "clustering": {"clusters": [2, 2], "starts": 1},
    "averaging": {"initial_models": 1, "initial_iterations": 2, "refinement_iterations": 1},
    "export": {"formats": list(FORMATS)},
    "report": {"embedding": "pca"},
}
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "torch.jit.load"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "pandas.read_pickle"),
}


def blobs() -> np.ndarray:
    """Noise with dark balls of 160 angstrom (16 voxels) in it, (48, 96, 96)."""
    volume = np.random.default_rng(0).normal(size=(48, 96, 96)).astype(np.float32)
    z, y, x = np.ogrid[:48, :96, :96]
    for row in range(16, 96, 21):
        for column in range(16, 96, 21):
            volume[(z - 24) ** 2 + (y - row) ** 2 + (x - column) ** 2 < 64] -= 3
    return volume


def state(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Inode, mode, time and checksum of every file in a folder."""
    found = {}
    for path in folder.iterdir():
        about = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[path.name] = (about.st_ino, about.st_mode, about.st_mtime_ns, digest)
    return found


@pytest.mark.slow
def test_an_ugly_name_passes_from_picking_to_the_report(tmp_path: Path) -> None:
    raw, dataset = tmp_path / "raw data; touch pwned", tmp_path / "it's <i>mine & $(touch pwned)"
    raw.mkdir()
    (dataset / "config").mkdir(parents=True)
    write_volume(raw / UGLY, blobs(), 10)
    mask = raw / f"mask of {UGLY}".replace("{c}", "c").replace(
        "<b>", "b"
    )  # without brackets it is a job's input
    write_volume(mask, np.ones((48, 96, 96), np.int8), 10)
    relative = f"../{raw.name}/{UGLY}"
    row = f"a\t{relative}\t10\t-60\t60\tdark\t{mask}\n"
    (dataset / "config" / "tomograms.tsv").write_text(
        "tomogram\tpath\tvoxel_size\ttilt_min\ttilt_max\tcontrast\tmask\n" + row
    )
    (dataset / "config" / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    before = state(raw)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), *TWO_JOBS]
    done = subprocess.run(
        [*command, "--configfile", "config/config.yaml"],
        cwd=dataset, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert state(raw) == before
    assert not list(tmp_path.rglob("pwned"))
    page = (dataset / "results" / "report" / "report.html").read_text()
    assert html.escape(relative) in page.replace("&#34;", "&quot;")
    assert html.escape(dataset.name, quote=False) in page.replace("&#39;", "'")
    assert "<b>x" not in page
    assert "<i>mine" not in page
    results = dataset / "results"
    assert set(read_particles(results / "clusters" / "particles.star")["rlnMicrographName"]) == {relative}
    assert read_table(results / "check" / "tomograms.tsv")["path"].tolist() == [relative]
    (named,) = read_star(results / "relion5" / "tomograms.star")["global"]["rlnTomoReconstructedTomogram"]
    assert (results / "relion5" / named).samefile(raw / UGLY)
    script = (results / "reembedded" / "a.cxc").read_text()
    assert f"open '../../{relative}' id 1" in script.splitlines()
    assert (results / "dynamo" / "tomograms.doc").read_text() == f"1 {raw / UGLY}\n"


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run a command that refuses; return the lines that it says about it."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1
    captured = capsys.readouterr()
    return captured.err.splitlines() or [line for line in captured.out.splitlines() if ": bad: " in line]


@pytest.mark.parametrize(
    "name",
    ["two\nlines.mrc", "tab\tin.mrc", "return\r.mrc", "escape\x1b[31m.mrc", "blank at the end.mrc ", os.fsdecode(b"\xff\xfe.mrc")],
)  # fmt: skip
def test_init_refuses_names_that_a_table_cannot_hold(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    write_volume(tmp_path / "a.mrc", blobs(), 10)
    (tmp_path / "a.mrc").rename(path)
    assert refusal(["init", str(tmp_path / "dataset"), str(path)], capsys) == [
        f"Error: {str(path)!r}: a table cannot contain a path with tabs, line breaks, control characters or a space at its "
        "end; rename the file or make a link to it"
    ]
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("name", ["back\\slash.mrc", "both ' and \".mrc"])
def test_the_check_refuses_names_that_chimerax_cannot_be_told_and_takes_links_to_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume(tmp_path / "a.mrc", blobs(), 10)
    (tmp_path / "a.mrc").rename(tmp_path / name)
    main_quietly(["init", "dataset", name])
    monkeypatch.chdir(tmp_path / "dataset")
    assert refusal(["check"], capsys)[-1] == (
        f"a: bad: {tmp_path / name}: {'../' + name!r} cannot be used in a ChimeraX script; rename it without "
        "backslashes, control characters and mixed quotes, or make a link to it"
    ).replace("a: bad", f"{table_name(tmp_path)}: bad")
    (tmp_path / "plain.mrc").symlink_to(tmp_path / name)
    (tmp_path / "dataset" / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\t../plain.mrc\n")
    main_quietly(["check"])


def main_quietly(arguments: list[str]) -> None:
    """Run a command that succeeds."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert not caught.value.code


def table_name(folder: Path) -> str:
    """The name that init gave to the dataset's only tomogram."""
    return (folder / "dataset" / "config" / "tomograms.tsv").read_text().splitlines()[-1].split("\t")[0]


def test_a_leading_dash_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume(tmp_path / "--force.mrc", blobs(), 10)
    main_quietly(["init", "dataset", "--", "--force.mrc"])
    assert f"force\t{tmp_path / '--force.mrc'}\t" in (tmp_path / "dataset/config/tomograms.tsv").read_text()


def offences(text: str) -> list[str]:
    """Calls and imports that could execute what a file or a file's name holds."""
    found = []
    for node in ast.walk(ast.parse(text)):
        source = ast.unparse(node) if isinstance(node, ast.Call | ast.Import | ast.ImportFrom) else ""
        bad = False
        if isinstance(node, ast.Import):
            bad = any(alias.name.split(".")[0] in MODULES for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            bad = (node.module or "").split(".")[0] in MODULES
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            bad = function in CALLS or "shell=True" in source or "allow_pickle=True" in source
            bad |= function in ("np.load", "numpy.load") and "allow_pickle=False" not in source
        if bad:
            found.append(source)
    return found


def test_what_the_next_test_looks_for_is_found() -> None:
    for bad in ("import pickle", "from joblib import load", "torch.load(path)", "np.load(path)", "yaml.load(text)",
                "os.system(name)", "subprocess.run(name, shell=True)", "eval(text)", "np.load(path, allow_pickle=True)", "pd.read_pickle(p)"):  # fmt: skip
        assert offences(bad), bad
    for good in (
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
        "re.compile('x')",
        "network.eval()",
    ):
        assert not offences(good), good


def test_nothing_in_a_file_or_its_name_is_ever_executed() -> None:
    files = [path for folder in ("cryopipe", "scripts") for path in (CHECKOUT / folder).rglob("*.py")]
    assert len(files) > 100
    assert {str(path): found for path in files if (found := offences(path.read_text()))} == {}
    for path in [CHECKOUT / "Snakefile", *(CHECKOUT / "workflow").rglob("*.smk")]:
        assert "shell:" not in path.read_text(), path
