"""The bytes of a whole file."""

from __future__ import annotations

import os
from pathlib import Path

from cryopipe.errors import FileError, reading_fault


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
