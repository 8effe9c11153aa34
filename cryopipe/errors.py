"""What can go wrong, as one tree.

    CryopipeError
    |-- ConfigError        config.yaml holds a mistake
    |-- TableError         the tomogram table holds a mistake
    |-- FileError          a file is missing, truncated or not what its name says
    |-- DataError          a file reads well, but its content cannot be used (voxel size 0, NaN, ...)
    |-- SimulationError    the scene that was asked for is impossible
    `-- LearningError      training cannot go on

Every error is one line that names the file, the value and the remedy. The console command and the
workflow's scripts print that line and nothing else; the traceback goes to the log.
"""

from __future__ import annotations

import os


class CryopipeError(Exception):
    """Base of all errors that a user can mend.

    Parameters
    ----------
    problem
        What is wrong, with the offending value.
    file
        The file concerned, if there is one; it opens the message.
    remedy
        What to do about it; it closes the message.
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
    """config.yaml holds a mistake."""


class TableError(CryopipeError):
    """The tomogram table holds a mistake."""


class FileError(CryopipeError):
    """A file is missing, truncated, or not what its name says."""


class DataError(CryopipeError):
    """A file reads well, but its content cannot be used."""


class SimulationError(CryopipeError):
    """The scene that was asked for is impossible."""


class LearningError(CryopipeError):
    """Training cannot go on."""


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, so that a message stays on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
