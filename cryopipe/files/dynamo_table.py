"""Dynamo tables: one particle per line, numbers only."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import DataError, FileError
from cryopipe.files.atomic import write_text


def write_dynamo_table(path: str | os.PathLike[str], values: NDArray[np.float64]) -> None:
    """Write a Dynamo table.

    Parameters
    ----------
    path
        The .tbl file; written atomically.
    values
        (n, columns) in Dynamo's order of columns; the first is the tag.

    Raises
    ------
    DataError
        If a number is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise DataError("a Dynamo table cannot contain NaN or infinity", file=path)
    write_text(path, "".join(" ".join(_number(value) for value in row) + "\n" for row in values.tolist()))


def read_dynamo_table(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read a Dynamo table: (n, columns) numbers.

    Raises
    ------
    FileError
        If the file is missing or is not a table of numbers.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            rows = [[float(text) for text in line.split()] for line in stream if line.strip()]
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="correct the path") from None
    except (OSError, ValueError) as error:
        raise FileError(f"is not a Dynamo table ({error})", file=path, remedy="give a .tbl file") from error
    if len({len(row) for row in rows}) > 1:
        raise FileError("has rows of different lengths", file=path, remedy="give a complete .tbl file")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 0)


def read_tomogram_list(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read Dynamo's list of tomograms: their paths, or names, by number.

    Raises
    ------
    FileError
        If the file cannot be read, or a line is not a number and a path.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            pairs = [line.split(maxsplit=1) for line in stream if line.strip()]
        return {int(number): name.strip() for number, name in pairs}
    except (OSError, ValueError) as error:
        raise FileError(
            f"is not a list of numbers and paths ({error})", file=path, remedy="correct it, or remove it"
        ) from error


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"
