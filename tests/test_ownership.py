"""Folders shared with the user: what cryopipe did not write is never replaced or removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cryopipe.errors import DataError, FileError
from cryopipe.files import atomic
from cryopipe.files.ownership import LIST, fingerprint, remove_written_files, replaced_files


def write(folder: Path, **files: str) -> None:
    """Publish files, named with `__` for a slash, through the module under test."""
    with replaced_files(folder) as staging:
        for name, text in files.items():
            path = staging / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    """Everything below a folder but the list, hidden files and empty directories included."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "/"
        for path in sorted(folder.rglob("*"))
        if path.name != LIST
    }


def test_files_are_replaced_and_what_is_no_longer_produced_goes(tmp_path: Path) -> None:
    write(tmp_path / "f", a="1", sub__b="2", sub__c="3")
    kept = (tmp_path / "f" / "a").stat().st_mtime_ns
    write(tmp_path / "f", a="1", d="4")
    assert content(tmp_path / "f") == {"a": "1", "d": "4"}
    assert (tmp_path / "f" / "a").stat().st_mtime_ns == kept  # what stays the same is left alone
    assert (tmp_path / "f" / LIST).read_text().splitlines()[0] == "file\tsize\tsha256"


def test_what_the_user_put_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    write(folder, a="1", sub__b="2")
    (folder / "sub" / "mine").write_text("user")
    (folder / "Refine3D").mkdir()
    (folder / "Refine3D" / "run_data.star").write_text("user")
    users = {"Refine3D": "/", "Refine3D/run_data.star": "user", "sub": "/", "sub/mine": "user"}
    write(folder, a="new")
    assert content(folder) == {"a": "new", **users}
    remove_written_files(folder)
    assert content(folder) == users
    assert not (folder / LIST).exists()


@pytest.mark.parametrize("how", ["foreign", "changed", "linked", "directory", "file for a directory"])
def test_a_file_of_the_user_at_a_wanted_place_is_named_and_nothing_changes(tmp_path: Path, how: str) -> None:
    folder, name = tmp_path / "f", "a"
    write(folder, **({"other": "0"} if how in ("foreign", "directory") else {"a": "1", "other": "0"}))
    if how == "linked":
        (folder / "a").rename(tmp_path / "elsewhere")
        (folder / "a").symlink_to(tmp_path / "elsewhere")
    elif how == "directory":
        (folder / "a").mkdir()
    elif how == "file for a directory":
        (folder / "sub").write_text("user")
        name = "sub"
    else:
        (folder / "a").write_text("user")
    before, listed = content(folder), (folder / LIST).read_text()
    with pytest.raises(FileError) as raised:
        write(folder, a="2", other="2", sub__b="2")
    assert str(raised.value) == (
        f"{folder / name}: was not written by cryopipe, or was changed since; "
        "move it to another place or rename it, and run again"
    )
    assert (content(folder), (folder / LIST).read_text()) == (before, listed)


def test_a_failure_leaves_the_earlier_files_and_names_the_final_place(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    write(folder, a="1")
    before = content(folder)

    def fail() -> None:
        with replaced_files(folder) as staging:
            (staging / "a").write_text("2")
            raise DataError("is off", file=staging / "a", remedy="report it")

    with pytest.raises(DataError, match=f"^{folder}/a: is off; report it$"):
        fail()
    assert content(folder) == before
    with pytest.raises(RuntimeError), replaced_files(tmp_path / "fresh"):
        raise RuntimeError
    assert not (tmp_path / "fresh").exists()


def test_a_changed_file_that_is_no_longer_produced_is_left_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "f", a="1", b="1")
    (tmp_path / "f" / "b").write_text("user")
    write(tmp_path / "f", a="1")
    assert content(tmp_path / "f") == {"a": "1", "b": "user"}
    assert caplog.messages == [
        f"{tmp_path / 'f' / 'b'}: outdated, but not removed, because it was changed after cryopipe wrote it"
    ]
    write(tmp_path / "f", a="2")  # it is the user's now, for good
    assert content(tmp_path / "f") == {"a": "2", "b": "user"}


KILLED = """
import os, signal, sys
from cryopipe.files import ownership
moves = int(sys.argv[2])
move = ownership._move
def dying(source, target):
    global moves
    if moves == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    moves -= 1
    move(source, target)
ownership._move = dying
with ownership.replaced_files(sys.argv[1]) as staging:
    for name in "abc":
        (staging / name).write_text("2")
"""


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_killed_between_two_files_the_next_export_still_knows_its_own(tmp_path: Path, moves: int) -> None:
    folder = tmp_path / "f"
    write(folder, a="1", b="1", gone="1")
    (folder / "mine").write_text("user")
    ran = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(moves)], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert [content(folder).get(name) for name in "abc"] == [*["2"] * moves, *["1", "1", None][moves:]]
    atomic._remove_left_overs.cache_clear()  # every process looks once
    write(folder, a="3", c="3")
    assert content(folder) == {"a": "3", "c": "3", "mine": "user"}
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_a_folder_on_another_disk_behind_a_link(tmp_path: Path) -> None:
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second disk here")
    other = Path("/dev/shm") / f"cryopipe_{os.getpid()}"
    other.mkdir()
    try:
        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "sub").symlink_to(other)
        write(tmp_path / "f", sub__b="2")
        assert (other / "b").read_text() == "2"
        write(tmp_path / "f", a="1")
        assert os.listdir(other) == []
    finally:
        for path in other.iterdir():
            path.unlink()
        other.rmdir()


def test_a_list_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / LIST).write_text("file\tsize\tsha256\na\tmany\tx\n")
    with pytest.raises(FileError, match="is not the list that cryopipe wrote; move the folder"):
        write(tmp_path, a="1")


def test_fingerprints_follow_content_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert fingerprint(tmp_path) is None
    assert fingerprint(tmp_path / "absent") is None
