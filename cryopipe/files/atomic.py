"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryopipe.errors import FileError

_REMEDIES = {
    errno.ENOSPC: "free some space on that disk and run again",
    errno.EDQUOT: "your disk quota is used up; free some space and run again",
    errno.EFBIG: "larger than a file may be here (`ulimit -f`); raise that limit and run again",
    errno.EROFS: "that disk is read-only; choose another directory",
    errno.ENOTDIR: "a directory in its path is a file; choose another directory",
    errno.EEXIST: "a directory in its path is a file; choose another directory",
    errno.EISDIR: "a directory of that name stands in the way; remove it or choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "you may not write there; change the permissions or choose another directory",
}

_TEMPORARY = re.compile(r"\..*-(?P<home>[0-9a-f]{8})-(?P<process>[0-9]+)-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)
_ABANDONED_SECONDS = 86_400.0
"""A temporary file of another computer counts as left over once nobody wrote to it for so long."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary path that becomes `path` if all goes well.

    The temporary file lies in the same directory and has the same suffix, so that libraries which go by
    suffixes do the same as for `path`. When the block ends, the file is flushed to disk and renamed; when
    the block raises, the file is removed and whatever stood at `path` before stays as it was. What a process that
    was killed left behind in that directory is removed, too.

    Parameters
    ----------
    path
        Where the file is to be; missing directories above it are made.

    Yields
    ------
    The temporary path. The block must create it.

    Raises
    ------
    FileError
        If the disk is full or read-only, or the directory cannot be made or written to.
    """
    target = Path(path)
    # 40 letters of the stem keep the temporary name below the 255 bytes that file systems allow
    temporary = target.with_name(f".{target.stem[:40]}-{_owner()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_overs(target.parent)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _REMEDIES or not _concerns(error, temporary, target):
            raise
        raise _unwritable(error, target) from error


@contextmanager
def temporary_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out an empty folder inside `folder` that is removed, with all that is in it, when the block ends.

    Directories that are missing are made; `folder` itself does not stay if it is empty in the end.

    Raises
    ------
    FileError
        If it cannot be made.
    """
    target = Path(folder)
    temporary = target / f".partial-{_owner()}"
    try:
        temporary.mkdir(parents=True)
        _remove_left_overs(target)
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise _unwritable(error, target) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # something is in it
            target.rmdir()


def _owner() -> str:
    """Name this process, and something within it, in the name of a temporary file."""
    return f"{_home()}-{os.getpid()}-{secrets.token_hex(4)}"


def _unwritable(error: OSError, target: Path) -> FileError:
    return FileError(f"cannot be written ({error.strerror})", file=target, remedy=_REMEDIES[error.errno or 0])


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Tell whether an error is about this file: the block may stumble over others, too."""
    paths = {str(path) for path in (temporary, target, *target.parents)}
    return error.filename is None or str(error.filename) in paths


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8 with the line ends it has, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def _home() -> str:
    """Name what process numbers are unique in: this computer, or the container on it."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


@functools.cache
def _remove_left_overs(folder: Path) -> None:
    """Remove the temporary files and folders of processes that were killed; one look per process and folder is enough."""
    try:
        names = os.listdir(folder)
    except OSError:  # one may be allowed to write where one may not look
        return
    for found in filter(None, map(_TEMPORARY.fullmatch, names)):
        path = folder / found.string
        with suppress(OSError):  # another job may remove it at the same time
            abandoned = time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
            if abandoned or (found["home"] == _home() and not _is_alive(int(found["process"]))):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
