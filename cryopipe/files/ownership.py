"""Folders that cryopipe shares with its user: only files that it wrote itself are ever replaced or removed.

A list beside the files, `cryopipe_files.tsv`, holds the fingerprint of every file that was written. A file that the list
lacks, or that has changed since, belongs to the user.
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
"""What was written into the folder: file, size in bytes, SHA-256; a file that is being replaced stands there twice."""
_HEADER = ("file", "size", "sha256")
_CHUNK = 1 << 20
Fingerprint = tuple[int, str]
"""Size in bytes and SHA-256 of the content."""


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint | None:
    """Return what a file's content is known by; None if it is no regular file (a link counts as none)."""
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
    """Hand out an empty folder whose files replace those that cryopipe wrote into `folder` before.

    When the block ends, its files are moved to their places one by one, and earlier ones that are no longer produced are
    removed. When the block raises, or a file of the user's stands at a place that is wanted, `folder` stays as it was.
    Whenever the process is killed, the list still tells which files are cryopipe's.

    Parameters
    ----------
    folder
        Where the files are to be; it is made if need be.

    Yields
    ------
    A temporary folder inside `folder`.

    Raises
    ------
    FileError
        If a file that cryopipe did not write, or that was changed since, stands at a place that is wanted.
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


def withdraw_files(folder: str | os.PathLike[str]) -> None:
    """Remove the files that cryopipe wrote into `folder`, and the folder if nothing else is in it."""
    target = Path(folder)
    if (target / LIST).is_file():
        _remove(target, _read_list(target), {})
        (target / LIST).unlink(missing_ok=True)
        with suppress(OSError):  # the user's files are in it
            target.rmdir()


def remove_unchanged(path: str | os.PathLike[str], known: Fingerprint | None) -> bool:
    """Remove a file if its content is still the known one; return whether nothing is there any more."""
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
        if standing[name] != new[name]:  # what stays the same keeps its time
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
    """Remove the files of an earlier list that are no longer produced, and directories that are empty then."""
    for name, marks in earlier.items():
        if name in new:
            continue
        if not any(remove_unchanged(folder / name, mark) for mark in marks):
            logger.warning(
                "%s: was changed since cryopipe wrote it and is out of date; it is left there", folder / name
            )
        for parent in Path(name).parents[:-1]:
            with suppress(OSError):  # something else is in it
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
