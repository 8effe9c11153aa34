"""Tree of the errors that a user can fix.

    CryopipeError
    |-- ConfigError        config.yaml contains a mistake
    |-- TableError         the tomogram table contains a mistake
    |-- FileError          a file is missing, truncated or of another format than expected
    |-- DataError          a file is readable, but its content cannot be used (voxel size 0, NaN, ...)
    |-- SimulationError    the requested scene is impossible
    `-- LearningError      training cannot continue

Every error is one line with the file, the value and the remedy. The console command and the
workflow's scripts print only that line; the traceback is written to the log.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable


class CryopipeError(Exception):
    """Base class of all errors that a user can fix.

    Parameters
    ----------
    problem
        What is wrong, with the wrong value.
    file
        The file concerned, if any; the message begins with it.
    remedy
        How to fix it; the message ends with it.
    """

    def __init__(
        self, problem: str, *, file: str | os.PathLike[str] | None = None, remedy: str | None = None
    ) -> None:
        self.problem = one_line(problem)
        self.file = None if file is None else one_line(os.fspath(file))
        self.remedy = None if remedy is None else one_line(remedy)
        message = self.problem if self.file is None else f"{self.file}: {self.problem}"
        super().__init__(message if self.remedy is None else f"{message}; {self.remedy}")


class ConfigError(CryopipeError):
    """config.yaml contains a mistake."""


class TableError(CryopipeError):
    """The tomogram table contains a mistake."""


class FileError(CryopipeError):
    """A file is missing, truncated, or of another format than expected."""


class DataError(CryopipeError):
    """A file is readable, but its content cannot be used."""


class SimulationError(CryopipeError):
    """The requested scene is impossible."""


class LearningError(CryopipeError):
    """Training cannot continue."""


def check_size(path: str | os.PathLike[str], megabytes: int) -> None:
    """Raise an OSError, which `reading_fault` explains, if a file is larger than files of its format ever are."""
    if os.path.getsize(path) > megabytes * 1_000_000:
        raise OSError(errno.EFBIG, f"is larger than {megabytes} MB")


def reading_fault(error: OSError | ValueError) -> tuple[str, str]:
    """Return the problem and the remedy for a file that could not be read."""
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text ({error.reason} at byte {error.start})", "save it as UTF-8 text"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        return "no such file", "correct the path"
    if number == errno.EISDIR:
        return "is a directory", "give a file in it"
    if number == errno.EFBIG:
        return str(error.args[1]), "correct the path, or give the unchanged file of the program that wrote it"
    if number in (errno.EACCES, errno.EPERM) or isinstance(error, PermissionError):
        return (
            "may not be read",
            "change its permissions, or its directory's: chmod u+r FILE, chmod u+x DIRECTORY",
        )
    if number in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG) or number is None:
        return f"is not a usable path ({getattr(error, 'strerror', None) or error})", "correct the path"
    return (
        f"cannot be read ({getattr(error, 'strerror', None) or error})",
        "check the disk, or copy the file again",
    )


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, which keeps a message on one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def rounded(value: float, digits: int = 3) -> str:
    """Return a number with that many significant digits and without an exponent, such as `1,470` or `0.0512`."""
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def size_text(sizes: Iterable[float], form: str = "") -> str:
    """Return sizes along x, y, z for a message, such as `512 x 512 x 200`; `form` formats each number."""
    return " x ".join(format(size, form) for size in sizes)
