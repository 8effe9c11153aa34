"""The worst inputs: each is told in one line with file, value and remedy, and nothing is written or touched."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryopipe.cli import main
from cryopipe.config import CHECKOUT
from cryopipe.files.mrc import write_volume

HEADER = "tomogram\tpath\tvoxel_size\ttilt_min\ttilt_max\tcontrast\tmask\n"
CONFIG, TABLE, MRC, MASK = "config/config.yaml", "config/tomograms.tsv", "a.mrc", "mask.mrc"
STRANGE = "it's {c} é $(touch pwned) #1.mrc"
Damage = Callable[[Path], object]


def text(name: str, content: str) -> Damage:
    return lambda folder: (folder / name).write_text(content)


def bytes_of(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def volume(name: str, change: Callable[[np.ndarray], np.ndarray], voxel_size: float = 10.0) -> Damage:
    return lambda folder: store(folder / name, change(sound()), voxel_size)


def store(path: Path, values: np.ndarray, voxel_size: float) -> None:
    """Write whatever values, also those that our own writer refuses."""
    write_volume(path, np.ones(values.shape), 10)
    content = bytearray(path.read_bytes())
    content[40:52] = np.array([voxel_size * size for size in values.shape[::-1]], "<f4").tobytes()
    path.write_bytes(content[:1024] + values.astype("<f4").tobytes())


def field(offset: int, value: int) -> Damage:
    """Overwrite one integer of the MRC header."""

    def damage(folder: Path) -> None:
        content = bytearray((folder / MRC).read_bytes())
        content[offset : offset + 4] = value.to_bytes(4, "little", signed=True)
        (folder / MRC).write_bytes(content)

    return damage


def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32)


def with_values(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.where(np.arange(28) == 5, np.float32(value), values)


def packed(pack: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: (folder / MRC).write_bytes(pack((folder / MRC).read_bytes()))


# what is done to the dataset, the file that is named, what is said of it, the remedy
CASES: dict[str, tuple[Damage, str, str, str]] = {
    "config is not YAML": (text(CONFIG, "pick: {a: [1\n"), CONFIG, "is not YAML (line", "indent with spaces"),
    "config with a tab": (text(CONFIG, "imaging:\n\tcontrast: dark\n"), CONFIG, "is not YAML (line 2", "indent with"),
    "config of binary rubbish": (bytes_of(CONFIG, b"\xff\xfe\x00\x81"), CONFIG, "cannot be read", "save it as UTF-8"),
    "config is a list": (text(CONFIG, "- seed\n"), CONFIG, "[seed] cannot be used", "give a section with"),
    "unknown option": (text(CONFIG, "sede: 3\n"), CONFIG, "line 1: sede: unknown option 'sede'", "did you mean 'seed'?"),
    "impossible value": (text(CONFIG, "memory_gb: -1\n"), CONFIG, "line 1: memory_gb: -1 cannot be used", "give a number"),
    "misspelt choice": (text(CONFIG, "device: gpu\n"), CONFIG, "device: gpu cannot be used", "auto, cpu, cuda"),
    "text for a number": (text(CONFIG, "seed: many\n"), CONFIG, "seed: many cannot be used", "give a whole number"),
    "missing table": (lambda folder: (folder / TABLE).unlink(), TABLE, "no such file", "run `cryopipe init`"),
    "empty table": (text(TABLE, ""), TABLE, "the table is empty", "its first line must be"),
    "table of commas": (text(TABLE, "tomogram,path\na,a.mrc\n"), TABLE, "unknown column 'tomogram,path'", "known: tomogram"),
    "table of rubbish": (bytes_of(TABLE, b"\x00\xff\xfe"), TABLE, "is not UTF-8 text", "save it as UTF-8 text"),
    "name twice": (text(TABLE, HEADER + "a\ta.mrc\nA\ta.mrc\n"), TABLE, "tomogram 'A' is in the table twice", "rename"),
    "name with a path": (text(TABLE, HEADER + "../a\ta.mrc\n"), TABLE, "tomogram name '../a'", "use letters, digits"),
    "voxel size in words": (text(TABLE, HEADER + "a\ta.mrc\tten\n"), TABLE, "voxel_size 'ten' is not a number", "give a"),
    "voxel size 0": (text(TABLE, HEADER + "a\ta.mrc\t0\n"), TABLE, "voxel_size 0", "give angstrom, 0.1 to 1000"),
    "tilts the wrong way": (text(TABLE, HEADER + "a\ta.mrc\t\t60\t-60\n"), TABLE, "tilt range 60 to -60", "give degrees"),
    "contrast grey": (text(TABLE, HEADER + "a\ta.mrc\t\t\t\tgrey\n"), TABLE, "contrast 'grey'", "give dark or bright"),
    "missing tomogram": (lambda folder: (folder / MRC).unlink(), MRC, "no such file", "correct the path"),
    "tomogram of 0 bytes": (bytes_of(MRC, b""), MRC, "is empty (0 bytes)", "copy or reconstruct it again"),
    "tomogram is a directory": (lambda folder: swap_for_directory(folder / MRC), MRC, "is a directory", "give the MRC"),
    "tomogram is text": (text(MRC, "hello " * 999), MRC, "is not an MRC file: no 'MAP' stamp", "give a volume in MRC"),
    "gzip": (packed(gzip.compress), MRC, "is compressed with gzip", "gunzip"),
    "bzip2": (packed(bz2.compress), MRC, "is compressed with bzip2", "bunzip2"),
    "truncated": (packed(lambda content: content[:-999]), MRC, "is truncated: 53,785 bytes", "copy or reconstruct"),
    "nz = 0": (field(8, 0), MRC, "28 x 24 x 0 voxels", "copy or reconstruct it again"),
    "negative size": (field(0, -28), MRC, "-28 x 24 x 20 voxels", "copy or reconstruct it again"),
    "4-bit mode": (field(12, 101), MRC, "MRC mode 101 (4-bit integers) cannot be used", "newstack -mode 1"),
    "complex mode": (field(12, 4), MRC, "MRC mode 4 (complex 32-bit numbers", "give a real-space volume"),
    "voxel size 0 in the header": (volume(MRC, np.copy, 0.0), MRC, "is 0 x 0 x 0 A", "column voxel_size"),
    "voxel size 1 in the header": (volume(MRC, np.copy, 1.0), MRC, "voxel size in the header is 1 A", "column voxel_size"),
    "NaN": (volume(MRC, with_values(np.nan)), MRC, "480 voxels are NaN, infinite or above 1e+12, the first at x, y, z = 5, 0, 0", "reconstruct"),
    "infinity": (volume(MRC, with_values(np.inf)), MRC, "480 voxels are NaN, infinite or above 1e+12", "reconstruct the tomogram again"),
    "one value only": (volume(MRC, np.zeros_like), MRC, "all voxels have the same value, 0", "reconstruct or copy"),
    "a mask for a tomogram": (volume(MRC, lambda values: values > 0), MRC, "only 2 different values (0, 1)", "use the tomogram"),
    "hardly any variation": (volume(MRC, lambda values: 1e6 + values), MRC, "almost no variation", "reconstruct it again"),
    "missing mask": (lambda folder: (folder / MASK).unlink(), MASK, "no such file", "correct the path"),
    "mask of another shape": (volume(MASK, lambda values: values[1:]), MASK, "28 x 24 x 19 voxels", "use a mask with"),
    "empty mask": (volume(MASK, np.zeros_like), MASK, "is empty: no voxel is above 0", "leave the column mask blank"),
    "mask is truncated": (bytes_of(MASK, b"\x01" * 50), MASK, "is not an MRC file: 50 bytes", "give a volume in MRC"),
}  # fmt: skip


def swap_for_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_dataset(folder: Path) -> None:
    (folder / "config").mkdir(parents=True)
    (folder / CONFIG).write_text("pick: {diameters: [150]}\n")
    (folder / TABLE).write_text(HEADER + "a\ta.mrc\t\t-60\t60\tdark\tmask.mrc\n")
    write_volume(folder / MRC, sound(), 10)
    write_volume(folder / MASK, np.ones((20, 24, 28), np.int8), 10)


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and checksum of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
    }


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Run `cryopipe check`; return its status and the lines that tell a problem."""
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    told = [line for line in captured.out.splitlines() if line.startswith(("a: bad: ", "a: warning: "))]
    return int(caught.value.code or 0), captured.err.splitlines() + told


def test_the_undamaged_dataset_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert check(capsys) == (0, [])


@pytest.mark.parametrize("name", CASES)
def test_each_ends_in_one_line_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damage, file, problem, remedy = CASES[name]
    make_dataset(tmp_path)
    damage(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = state(tmp_path)
    status, lines = check(capsys)
    assert status == 1
    (line,) = lines
    assert file in line
    assert problem in line
    assert remedy in line
    assert state(tmp_path) == before


def test_a_locked_tomogram_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    opened = Path.open

    def locked(path: Path, *arguments: str, **options: str) -> object:
        if path.name == MRC:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", locked)
    assert check(capsys) == (
        1,
        [
            "a: bad: a.mrc: may not be read; change its permissions, or its directory's: chmod u+r FILE, "
            "chmod u+x DIRECTORY"
        ],
    )


def test_a_bad_tomogram_fails_alone_in_the_workflow(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    (tmp_path / TABLE).write_text(HEADER + f"a\ta.mrc\nb\tb.mrc\nc\t{STRANGE}\n")
    store(tmp_path / "b.mrc", np.zeros((20, 24, 28)), 0.0)
    write_volume(tmp_path / STRANGE, sound()[::-1], 12)
    before = state(tmp_path)
    targets = [f"results/check/{name}.tsv" for name in "abc"]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        CHECKOUT / "Snakefile",
        "--directory",
        tmp_path,
    ]
    options = ["--configfile", tmp_path / CONFIG, "--cores", "1", "--keep-going"]
    result = subprocess.run(
        [*command, *options, *targets], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert errors == [
        "Error: b.mrc: tomogram b: voxel size in the header is 0 x 0 x 0 A, which means unknown; enter the "
        "voxel size, in angstrom, in the column voxel_size of the tomogram table | all voxels have the same value, 0; "
        "reconstruct or copy the tomogram again"
    ]
    assert "Traceback" not in result.stderr + result.stdout
    assert "Traceback" in (tmp_path / "logs" / "check_tomogram" / "b.log").read_text()
    assert sorted(os.listdir(tmp_path / "results" / "check")) == ["a.tsv", "c.tsv"]
    after = state(tmp_path)
    assert {name: after[name] for name in before} == before
    assert "pwned" not in after
