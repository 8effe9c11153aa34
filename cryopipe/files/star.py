"""Reading and writing of STAR files.

Values are preserved exactly: a tomogram named `007` or `nan`, a path with an apostrophe or `#`; a truncated loop is an
error. Loops without quotes and comments are read by `cryopipe.files.star_loop` with pandas, all others by the parser
below, with the same result. The written files can be read by RELION, starfile, Warp and Dynamo: one line per row, values
separated by spaces, no blank lines or comments within a loop.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe.columns import TOMOGRAM
from cryopipe.errors import DataError, FileError, reading_fault
from cryopipe.files.atomic import write_text
from cryopipe.files.star_loop import read_plain_loop, typed

Block = pd.DataFrame | Mapping[str, object]

_CLOSING = {quote: re.compile(quote + r"(?!\S)") for quote in "'\""}
"""A quote ends a value only before a blank or the end of the line; elsewhere it is part of the value."""
_BARE = re.compile(r"\S+")
_NO_ROW = ("_", "data_", "loop_")
_RESERVED = re.compile(r"(data_|loop_|save_|global_|stop_|_|;|\#|'|\"|\$|\[)", re.IGNORECASE)


def read_star(path: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    """Read all blocks of a STAR file.

    Parameters
    ----------
    path
        The STAR file, of any program.

    Returns
    -------
    The blocks by name, without `data_`. A loop becomes a table with one row per line; a block of single values
    becomes a table with one row. A column is integer or floating point if all its values are; columns that
    hold names (`cryopipe.columns.TEXT_COLUMNS`) and values such as `007` stay text.

    Raises
    ------
    FileError
        If the file is missing, is not a STAR file, or a line has fewer or more values than its loop has columns.
    """
    return _read_blocks(Path(path), "")


def _read_blocks(path: Path, holding: str) -> dict[str, pd.DataFrame]:
    """Read all blocks, but only the rows that contain the text `holding`, if given."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
    if holding:
        lines = [line if holding in line or line.lstrip().startswith(_NO_ROW) else "" for line in lines]
    blocks = {}
    for name, start, end in _split_blocks(lines):
        if name in blocks:
            raise FileError(
                f"line {start} is the beginning of a second block data_{name}",
                file=path,
                remedy="rename or remove one of them",
            )
        blocks[name] = _parse_block(path, lines[start:end], start + 1)
    if not blocks:
        raise FileError("is not a STAR file: it has no data_ block", file=path, remedy="give a STAR file")
    return blocks


def write_star(path: str | os.PathLike[str], blocks: Mapping[str, Block]) -> None:
    """Write blocks to a STAR file atomically.

    Parameters
    ----------
    path
        The STAR file.
    blocks
        Blocks by name: a table becomes a loop, a mapping a block of single values. Floating-point numbers have at
        least 6 decimals and 7 significant digits. A table without rows is written with its columns.

    Raises
    ------
    DataError
        If a number is NaN or infinite, a value is missing, or a text cannot be written on one line: RELION
        would read 0 or stop silently.
    FileError
        If the file cannot be written.
    """
    lines = ["# written by cryopipe", ""]
    for name, block in blocks.items():
        lines += [f"data_{name}", ""]
        lines += _simple_lines(path, block) if isinstance(block, Mapping) else _loop_lines(path, block)
        lines += ["", ""]
    write_text(path, "\n".join(lines))


def read_particles(path: str | os.PathLike[str], tomogram: str | None = None) -> pd.DataFrame:
    """Read the table `particles` of a STAR file; see `read_star`.

    If the only block has another name (RELION 3.0 and older), that block is returned. With `tomogram`, only the rows of
    its particles are read, so that the time of a job for one tomogram does not grow with the number of tomograms.
    """
    blocks = _read_blocks(Path(path), tomogram or "")
    if "particles" in blocks or len(blocks) == 1:
        table = blocks.get("particles", next(iter(blocks.values())))
        if tomogram is None or TOMOGRAM not in table:
            return table
        return table[table[TOMOGRAM].astype(str) == tomogram].reset_index(drop=True)
    raise FileError(
        f"has no block data_particles, but {', '.join('data_' + name for name in blocks)}",
        file=path,
        remedy="give a STAR file of particles",
    )


def write_particles(
    path: str | os.PathLike[str], table: pd.DataFrame, optics: pd.DataFrame | None = None
) -> None:
    """Write a particle table, after its optics table if there is one; see `write_star`."""
    blocks = {} if optics is None else {"optics": optics}
    write_star(path, {**blocks, "particles": table})


def _split_blocks(lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the name, first line and end (exclusive) of each block, lines counted from 0.

    A line that begins with `data_` begins a block only if it is one word, because a row can begin with a tomogram
    named data_1.
    """
    opened: tuple[str, int] | None = None
    for index, line in enumerate(lines):
        if "data_" not in line:
            continue
        words = line.split("#")[0].split()
        if len(words) == 1 and words[0].startswith("data_"):
            if opened is not None:
                yield (*opened, index)
            opened = (words[0][len("data_") :], index + 1)
    if opened is not None:
        yield (*opened, len(lines))


def _parse_block(path: Path, lines: Sequence[str], first: int) -> pd.DataFrame:
    """Return the table of a block; `first` is the number of its first line in the file."""
    head, rows = _split_head(lines, first)
    if not head and not rows:
        return pd.DataFrame()
    if not head or head[0][1].split()[0] != "loop_":
        return _parse_simple(path, [*head, *_numbered(rows, first + len(lines) - len(rows))])
    columns = [text.split()[0][1:].split("#")[0] for _, text in head[1:]]
    _refuse_repeated(path, columns, [number for number, _ in head[1:]])
    table = read_plain_loop(columns, rows)
    return (
        _parse_rows(path, columns, _numbered(rows, first + len(lines) - len(rows)))
        if table is None
        else table
    )


def _split_head(lines: Sequence[str], first: int) -> tuple[list[tuple[int, str]], list[str]]:
    """Return `loop_` and the labels, numbered, without blanks and comments, and the lines that follow them."""
    head: list[tuple[int, str]] = []
    for index, line in enumerate(lines):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not text.startswith("_" if head else ("loop_", "_")) or text.split()[0] == "_":
            return head, list(lines[index:])
        head.append((first + index, text))
    return head, []


def _numbered(lines: Sequence[str], first: int) -> list[tuple[int, str]]:
    """Return the lines with their numbers, without blank lines and comments."""
    numbered = ((number, line.strip()) for number, line in enumerate(lines, first))
    return [(number, text) for number, text in numbered if text and not text.startswith("#")]


def _parse_rows(path: Path, columns: Sequence[str], lines: Sequence[tuple[int, str]]) -> pd.DataFrame:
    rows = []
    for number, text in lines:
        values = _tokens(text)
        if len(values) != len(columns):
            raise FileError(
                f"line {number} has {len(values)} values for {len(columns)} columns",
                file=path,
                remedy="the file is truncated or was edited by hand; write it again",
            )
        rows.append(values)
    texts = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame({column: typed(column, text) for column, text in zip(columns, texts, strict=True)})


def _parse_simple(path: Path, lines: Sequence[tuple[int, str]]) -> pd.DataFrame:
    values = {}
    for number, text in lines:
        tokens = _tokens(text)
        if len(tokens) != 2 or not tokens[0].startswith("_"):
            raise FileError(
                f"line {number} is not a label and its value: {text[:60]!r}",
                file=path,
                remedy="give a STAR file",
            )
        values[number] = (tokens[0][1:], tokens[1])
    _refuse_repeated(path, [name for name, _ in values.values()], list(values))
    return pd.DataFrame({column: typed(column, (text,)) for column, text in values.values()})


def _refuse_repeated(path: Path, columns: Sequence[str], numbers: Sequence[int]) -> None:
    if len(set(columns)) == len(columns):
        return
    number, name = next(
        (number, name)
        for at, (number, name) in enumerate(zip(numbers, columns, strict=True))
        if name in columns[:at]
    )
    raise FileError(
        f"line {number} repeats the column {name}", file=path, remedy="rename or remove one of them"
    )


def _tokens(text: str) -> list[str]:
    """Return the values on a line, in time proportional to its length."""
    if not any(mark in text for mark in "'\"#"):
        return text.split()
    tokens = []
    unclosed = ""  # quotes without a closing quote on the rest of the line
    at = 0
    while (bare := _BARE.search(text, at)) is not None:
        start, mark = bare.start(), text[bare.start()]
        if mark == "#":
            break
        if mark in _CLOSING and mark not in unclosed:
            closing = _CLOSING[mark].search(text, start + 1)
            if closing is not None:
                tokens.append(text[start + 1 : closing.start()])
                at = closing.end()
                continue
            unclosed += mark
        tokens.append(bare.group())
        at = bare.end()
    return tokens


def _loop_lines(path: str | os.PathLike[str], table: pd.DataFrame) -> list[str]:
    if table.columns.empty:
        raise DataError("a STAR table needs at least one column", file=path)
    lines = ["loop_", *(f"_{_label(path, name)} #{i}" for i, name in enumerate(table.columns, 1))]
    columns = [_column_texts(path, str(name), table[name]) for name in table.columns]
    return lines + [" ".join(row) for row in zip(*columns, strict=True)]


def _simple_lines(path: str | os.PathLike[str], values: Mapping[str, object]) -> list[str]:
    return [f"_{_label(path, name)} {_text(path, str(name), value)}" for name, value in values.items()]


def _label(path: str | os.PathLike[str], name: object) -> str:
    if not re.fullmatch(r"[^\s#'\"]+", str(name)):
        raise DataError(f"{name!r} cannot be a column of a STAR file", file=path)
    return str(name)


def _column_texts(path: str | os.PathLike[str], name: str, values: pd.Series) -> list[str]:
    return [_text(path, name, value) for value in values.tolist()]


def _text(path: str | os.PathLike[str], name: str, value: object) -> str:
    """Return the text of one value in the file."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return _decimal(path, name, float(value))
    if not isinstance(value, str):
        raise DataError(f"{name} is {value!r}, which a STAR file cannot contain", file=path)
    return _quoted(path, name, value)


def _decimal(path: str | os.PathLike[str], name: str, value: float) -> str:
    if not math.isfinite(value):
        raise DataError(f"{name} is {value}, which RELION would read as 0", file=path)
    if 1 <= abs(value) < 1e9:
        return f"{value:.6f}"
    return "0.000000" if value == 0 else f"{value:.9e}" if not 1e-3 <= abs(value) < 1 else f"{value:.10f}"


def _quoted(path: str | os.PathLike[str], name: str, value: str) -> str:
    if any(mark != " " and (mark.isspace() or not mark.isprintable()) for mark in value):
        raise DataError(
            f"{name} is {value!r}: a STAR file cannot contain line breaks, tabs or control characters",
            file=path,
            remedy="rename it",
        )
    if value and " " not in value and not _RESERVED.match(value):
        return value
    for quote in "\"'":
        written = f"{quote}{value}{quote}"
        if f"{quote} " not in value and _tokens(written) == [value]:
            return written
    raise DataError(
        f"{name} is {value!r}: a STAR file cannot contain both single and double quotes before blanks",
        file=path,
        remedy="rename it",
    )
