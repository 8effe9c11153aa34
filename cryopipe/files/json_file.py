"""JSON files: one value, or one value per line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryopipe.errors import FileError, reading_fault
from cryopipe.files.atomic import write_text


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write one value atomically, with an indent."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_json_lines(path: str | os.PathLike[str], values: Iterable[Any]) -> None:
    """Write one value per line atomically."""
    write_text(path, "".join(json.dumps(value, allow_nan=False) + "\n" for value in values))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read one value.

    Raises
    ------
    FileError
        If the file cannot be read or is not JSON.
    """
    return _parsed(path, _text(path))


def read_json_lines(path: str | os.PathLike[str]) -> list[Any]:
    """Read one value per line; blank lines are left out.

    Raises
    ------
    FileError
        If the file cannot be read, or a line is not JSON.
    """
    return [_parsed(path, line) for line in _text(path).splitlines() if line.strip()]


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error


def _parsed(path: str | os.PathLike[str], text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise FileError(f"is not JSON ({error})", file=path, remedy="give a complete file") from error
