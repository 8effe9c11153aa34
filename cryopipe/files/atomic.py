"""Atomic writing of files: under a temporary name, then renamed."""

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
    errno.EFBIG: "the file exceeds the limit of file sizes (`ulimit -f`); raise that limit and run again",
    errno.EROFS: "that disk is read-only; choose another directory",
    errno.ENOTDIR: "a directory in its path is a file; choose another directory",
    errno.EEXIST: "a directory in its path is a file; choose another directory",
    errno.EISDIR: "a directory has that name; remove it or choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "you have no permission to write there; change the permissions or choose another directory",
}

_TEMPORARY = re.compile(r"\..*-(?P<home>[0-9a-f]{8})-(?P<process>[0-9]+)-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)
_ABANDONED_SECONDS = 86_400.0
"""Time without a change after which another computer's temporary file is removed."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path whose file is renamed to `path` if no error occurs.

    The temporary file is in the same directory and has the same suffix, because some libraries choose the format by
    the suffix. When the block ends, the file is flushed to disk and renamed; if the block raises an exception, the
    file is removed and an existing file at `path` is not changed. Temporary files of killed processes in that
    directory are also removed.

    Parameters
    ----------
    path
        The file to write; missing directories are created.

    Yields
    ------
    The temporary path. The block must create it.

    Raises
    ------
    FileError
        If the disk is full or read-only, or the directory cannot be made or written to.
    """
    target = Path(path)
    # at most 40 characters of the stem, because file systems allow names of 255 bytes
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
    """Yield an empty folder inside `folder` that is removed with its content when the block ends.

    Missing directories are created; `folder` itself is removed if it is empty at the end.

    Raises
    ------
    FileError
        If it cannot be created.
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
    """Return a unique part of a temporary file's name: computer, process and random digits."""
    return f"{_home()}-{os.getpid()}-{secrets.token_hex(4)}"


def _unwritable(error: OSError, target: Path) -> FileError:
    return FileError(f"cannot be written ({error.strerror})", file=target, remedy=_REMEDIES[error.errno or 0])


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Return whether an error concerns this file, not another one that the block opened."""
    paths = {str(path) for path in (temporary, target, *target.parents)}
    return error.filename is None or str(error.filename) in paths


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with unchanged line ends."""
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
    """Return an identifier of this computer, or of the container, in which process numbers are unique."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


@functools.cache
def _remove_left_overs(folder: Path) -> None:
    """Remove the temporary files and folders of killed processes, once per process and folder."""
    try:
        names = os.listdir(folder)
    except OSError:  # a directory may be writable but not readable
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
