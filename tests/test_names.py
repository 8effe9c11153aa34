"""Names of files for other programs: what stands there finds the file, links keep their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryopipe.files.names import absolute_name, relative_name


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset beside data on another disk, which the link `data` leads to."""
    for folder in ("disk/session/raw", "disk/maps", "dataset"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "session")
    (tmp_path / "disk/session/raw/a.mrc").touch()
    (tmp_path / "disk/maps/b.mrc").touch()
    (tmp_path / "dataset/link.mrc").symlink_to(tmp_path / "disk/session/raw/a.mrc")
    monkeypatch.chdir(tmp_path / "dataset")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("link.mrc", "dataset/link.mrc"),
        ("../data/raw/a.mrc", "data/raw/a.mrc"),
        ("../dataset/../data/raw/a.mrc", "data/raw/a.mrc"),
        ("../data/../maps/b.mrc", "disk/maps/b.mrc"),  # behind the link, not beside it
        ("none/../new.mrc", "dataset/new.mrc"),
    ],
)
def test_absolute_names_are_those_that_users_gave(place: Path, given: str, name: str) -> None:
    assert absolute_name(given) == str(place / name)
    assert absolute_name(place / "dataset" / given) == str(place / name)
    if Path(given).exists():
        assert Path(absolute_name(given)).samefile(given)


@pytest.mark.parametrize("given", ["link.mrc", "../data/raw/a.mrc", "../data/../maps/b.mrc"])
@pytest.mark.parametrize("folder", [".", "results", "../data/raw"])
def test_relative_names_find_the_file_from_a_folder(place: Path, given: str, folder: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    name = relative_name(given, folder)
    assert not Path(name).is_absolute()
    assert Path(name).name == Path(given).name
    assert (Path(folder) / name).samefile(given)
