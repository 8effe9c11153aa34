"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryopipe.errors import FileError

_REMEDIES = {
    errno.ENOSPC: "free some space on that disk and run again",
    errno.EDQUOT: "your disk quota is used up; free some space and run again",
    errno.EROFS: "that disk is read-only; choose another directory",
    errno.ENOTDIR: "a directory in its path is a file; choose another directory",
    errno.EEXIST: "a directory in its path is a file; choose another directory",
    errno.EISDIR: "a directory of that name stands in the way; remove it or choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "you may not write there; change the permissions or choose another directory",
}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary path that becomes `path` if all goes well.

    The temporary file lies in the same directory and has the same suffix, so that libraries which go by
    suffixes do the same as for `path`. When the block ends, the file is flushed to disk and renamed; when
    the block raises, the file is removed and whatever stood at `path` before stays as it was.

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
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(6)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _REMEDIES or not _concerns(error, temporary, target):
            raise
        raise FileError(
            f"cannot be written ({error.strerror})", file=target, remedy=_REMEDIES[error.errno]
        ) from error


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
