"""Replacement and removal of files that cryopipe wrote in folders that also contain user's files.

`cryopipe_files.tsv` in the folder lists size and checksum of every file that cryopipe wrote. A file that is not in the
list, or has been changed since, belongs to the user and is never replaced or removed.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cryopipe.errors import CryopipeError, FileError
from cryopipe.files.atomic import atomic_path, temporary_folder, write_text

logger = logging.getLogger(__name__)

LIST = "cryopipe_files.tsv"
"""List of the files written to the folder: file, size in bytes, SHA-256; two rows for a file that is being replaced."""
_HEADER = ("file", "size", "sha256")
_CHUNK = 1 << 20
Fingerprint = tuple[int, str]
"""Size in bytes and SHA-256 of the content."""


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint | None:
    """Return the size and checksum of a file's content; None if it is not a regular file (a link is not)."""
    file = Path(path)
    if file.is_symlink() or not file.is_file():
        return None
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return file.stat().st_size, digest.hexdigest()


@contextmanager
def replaced_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder whose files replace those that cryopipe wrote to `folder` before.

    When the block ends, its files are moved to `folder` one by one, and earlier files that are no longer produced are
    removed. If the block raises an exception, or a user's file has the name of a new file, `folder` is not changed.
    The list of cryopipe's files is correct even if the process is killed.

    Parameters
    ----------
    folder
        Folder of the files; created if missing.

    Yields
    ------
    A temporary folder inside `folder`.

    Raises
    ------
    FileError
        If a file that cryopipe did not write, or that was changed since, has the name of a new file.
    """
    target = Path(folder)
    with temporary_folder(target) as staging:
        try:
            yield staging
        except CryopipeError as error:
            if error.file is None or not Path(error.file).is_relative_to(staging):
                raise
            place = target / Path(error.file).relative_to(staging)
            raise type(error)(error.problem, file=place, remedy=error.remedy) from error
        _publish(staging, target)


def remove_written_files(folder: str | os.PathLike[str]) -> None:
    """Remove the files that cryopipe wrote to `folder`, and the folder if it is empty then."""
    target = Path(folder)
    if (target / LIST).is_file():
        _remove(target, _read_list(target), {})
        (target / LIST).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            target.rmdir()


def remove_unchanged(path: str | os.PathLike[str], known: Fingerprint | None) -> bool:
    """Remove a file if its content has not changed; return whether the file no longer exists."""
    file = Path(path)
    if not os.path.lexists(file):
        return True
    if known is None or fingerprint(file) != known:
        return False
    file.unlink(missing_ok=True)
    return True


def _publish(staging: Path, folder: Path) -> None:
    paths = sorted(path for path in staging.rglob("*") if path.is_file())
    new = {str(path.relative_to(staging)): _known(path) for path in paths}
    earlier = _read_list(folder)
    standing = {name: fingerprint(folder / name) for name in new}
    for name in new:
        foreign = os.path.lexists(folder / name) and standing[name] not in earlier.get(name, [])
        blocking = [parent for parent in Path(name).parents[:-1] if _is_file(folder / parent)]
        if foreign or blocking:
            raise FileError(
                "was not written by cryopipe, or was changed since",
                file=folder / (blocking[0] if blocking else name),
                remedy="move it to another place or rename it, and run again",
            )
    _write_list(folder, {name: [*earlier.get(name, []), *([new[name]] if name in new else [])]
                         for name in {**earlier, **new}})  # fmt: skip
    for name in new:
        if standing[name] != new[name]:  # an unchanged file keeps its modification time
            _move(staging / name, folder / name)
    _remove(folder, earlier, new)
    _write_list(folder, {name: [mark] for name, mark in new.items()})


def _is_file(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_dir()


def _known(path: Path) -> Fingerprint:
    mark = fingerprint(path)
    assert mark is not None, path
    return mark


def _remove(folder: Path, earlier: Mapping[str, list[Fingerprint]], new: Mapping[str, Fingerprint]) -> None:
    """Remove the listed files that are no longer produced, and directories that are empty then."""
    for name, marks in earlier.items():
        if name in new:
            continue
        if not any(remove_unchanged(folder / name, mark) for mark in marks):
            logger.warning(
                "%s: outdated, but not removed, because it was changed after cryopipe wrote it", folder / name
            )
        for parent in Path(name).parents[:-1]:
            with suppress(OSError):  # not empty
                (folder / parent).rmdir()


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the user may have linked a folder to another disk
            raise
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _read_list(folder: Path) -> dict[str, list[Fingerprint]]:
    path = folder / LIST
    marks: dict[str, list[Fingerprint]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                marks.setdefault(row["file"], []).append((int(row["size"]), row["sha256"]))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            "is not the list that cryopipe wrote",
            file=path,
            remedy=f"move the folder {folder} to another place and run again",
        ) from error
    return marks


def _write_list(folder: Path, marks: Mapping[str, list[Fingerprint]]) -> None:
    rows = [(name, *mark) for name, each in sorted(marks.items()) for mark in dict.fromkeys(each)]
    lines = ["\t".join(map(str, row)) for row in [_HEADER, *rows]]
    write_text(folder / LIST, "\n".join(lines) + "\n")
