"""A file is whole or absent, and what stood in its place stays if it cannot be written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cryopipe.errors import FileError
from cryopipe.files import atomic
from cryopipe.files.atomic import atomic_path, write_text


def write_half_and_raise(target: Path, error: BaseException) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half of")
        raise error


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "table.tsv"
    with atomic_path(target) as temporary:
        temporary.write_text("all of it")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".tsv"
    assert target.read_text() == "all of it"
    assert os.listdir(target.parent) == ["table.tsv"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.tsv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half_and_raise(target, ZeroDivisionError())
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.tsv"]


def test_interrupting_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "table.tsv"
    with pytest.raises(KeyboardInterrupt):
        write_half_and_raise(target, KeyboardInterrupt())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space on that disk and run again"),
        (errno.EDQUOT, "your disk quota is used up"),
    ],
)
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    target = tmp_path / "table.tsv"
    target.write_text("old")

    def no_space(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(FileError, match=remedy) as caught:
        write_text(target, "new")
    assert str(caught.value).startswith(f"{target}: cannot be written ({os.strerror(number)}); ")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.tsv"]


def test_a_file_in_place_of_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="a directory in its path is a file"):
        write_text(tmp_path / "file" / "table.tsv", "new")


def test_a_directory_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").mkdir()
    with pytest.raises(FileError, match="a directory has that name"):
        write_text(tmp_path / "table.tsv", "new")
    assert os.listdir(tmp_path) == ["table.tsv"]


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    other = tmp_path / "locked"

    with pytest.raises(PermissionError):
        write_half_and_raise(
            tmp_path / "table.tsv", PermissionError(errno.EACCES, "Permission denied", str(other))
        )
    assert os.listdir(tmp_path) == []


def test_long_names_fit(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120 + ".tsv")  # 244 bytes: the file system's limit is 255
    write_text(target, "whole")
    assert target.read_text() == "whole"


def test_text_keeps_its_line_ends_and_letters(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "Å\nµ\n")
    assert (tmp_path / "x.txt").read_bytes() == "Å\nµ\n".encode()


def leave_behind(folder: Path) -> Path:
    """Kill another process in the middle of its writing and return the file that it left."""
    program = """
import os, signal, sys
from pathlib import Path
from cryopipe.files.atomic import atomic_path
with atomic_path(Path(sys.argv[1]) / "table.tsv") as temporary:
    temporary.write_text("half of")
    print(temporary, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert ran.returncode == -signal.SIGKILL
    return Path(ran.stdout.strip())


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = leave_behind(tmp_path)
    assert left.read_text() == "half of"
    write_text(tmp_path / "other.tsv", "whole")
    assert os.listdir(tmp_path) == ["other.tsv"]


def test_files_of_processes_that_live_or_may_live_stay(tmp_path: Path) -> None:
    own = f".table-{atomic._home()}-{os.getpid()}-00000000.tsv"
    elsewhere = ".table-00000000-1-00000000.tsv"
    forgotten = ".table-00000000-2-00000000.tsv"
    for name in (own, elsewhere, forgotten, ".hidden.tsv"):
        (tmp_path / name).write_text("half of")
    os.utime(tmp_path / forgotten, (0, 0))
    write_text(tmp_path / "table.tsv", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([own, elsewhere, ".hidden.tsv", "table.tsv"])
