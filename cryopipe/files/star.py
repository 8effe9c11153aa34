"""STAR files as RELION and its relatives write and read them.

The grammar is read here and not by a library, because values must survive: a tomogram called `007` or `nan`,
a path with an apostrophe or `#` in it, a loop that an interrupted copy cut short. What is written is plain
enough for RELION, starfile, Warp and Dynamo alike: one line per row, values parted by blanks, no blank line
inside a loop, no comments in it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe.columns import TEXT_COLUMNS, TOMOGRAM
from cryopipe.errors import DataError, FileError
from cryopipe.files.atomic import write_text

Block = pd.DataFrame | Mapping[str, object]

_TOKEN = re.compile(
    r"""'(?P<single>(?:[^']|'(?=\S))*)'(?=\s|$)   # in apostrophes; one inside counts unless a blank follows
      | "(?P<double>(?:[^"]|"(?=\S))*)"(?=\s|$)   # in quotes, likewise
      | (?P<comment>\#.*)
      | (?P<bare>\S+)""",
    re.VERBOSE,
)
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
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
    """Read all blocks, but of their rows only the ones that hold a text; the others are not even looked at."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = [line if holding in line or line.lstrip().startswith(_NO_ROW) else "" for line in stream]
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="correct the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot be read as text ({error})", file=path, remedy="give a STAR file") from error
    blocks = {name: _parse_block(path, body) for name, body in _split_blocks(lines)}
    if not blocks:
        raise FileError("is not a STAR file: it has no data_ block", file=path, remedy="give a STAR file")
    return blocks


def write_star(path: str | os.PathLike[str], blocks: Mapping[str, Block]) -> None:
    """Write blocks to a STAR file, whole or not at all.

    Parameters
    ----------
    path
        The STAR file.
    blocks
        By name: a table becomes a loop, a mapping a block of single values. Floating-point numbers get at
        least 6 decimals and 7 significant digits. A table without rows keeps its columns.

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

    A file whose only block has another name (RELION 3.0 and older) gives that block. With `tomogram`, only its
    particles are read; jobs of single tomograms would otherwise each take the longer the more tomograms there are.
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


def _split_blocks(lines: Sequence[str]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yield the blocks' names and their numbered lines, without blank lines and comments.

    A line that opens with `data_` opens a block only if it is one word: a row can open with a tomogram
    called data_1.
    """
    name: str | None = None
    body: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("data_") and len(text.split("#")[0].split()) == 1:
            if name is not None:
                yield name, body
            name, body = text.split("#")[0].split()[0][len("data_") :], []
        else:
            body.append((number, text))
    if name is not None:
        yield name, body


def _parse_block(path: Path, body: Sequence[tuple[int, str]]) -> pd.DataFrame:
    if not body:
        return pd.DataFrame()
    if body[0][1].split()[0] != "loop_":
        return _parse_simple(path, body)
    start = next((i for i, (_, text) in enumerate(body) if i and not text.startswith("_")), len(body))
    columns = [text.split()[0][1:].split("#")[0] for _, text in body[1:start]]
    rows = []
    for number, text in body[start:]:
        values = _tokens(text)
        if len(values) != len(columns):
            raise FileError(
                f"line {number} has {len(values)} values for {len(columns)} columns",
                file=path,
                remedy="the file is cut short or edited by hand; write it again",
            )
        rows.append(values)
    texts = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame({column: _typed(column, text) for column, text in zip(columns, texts, strict=True)})


def _parse_simple(path: Path, body: Sequence[tuple[int, str]]) -> pd.DataFrame:
    values = {}
    for number, text in body:
        tokens = _tokens(text)
        if len(tokens) != 2 or not tokens[0].startswith("_"):
            raise FileError(
                f"line {number} is not a label and its value: {text[:60]!r}",
                file=path,
                remedy="give a STAR file",
            )
        values[tokens[0][1:]] = tokens[1]
    return pd.DataFrame({column: _typed(column, (text,)) for column, text in values.items()})


def _tokens(text: str) -> list[str]:
    if not any(mark in text for mark in "'\"#"):
        return text.split()
    tokens = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "comment":
            break
        tokens.append(match.group(kind) if kind else "")
    return tokens


def _typed(column: str, texts: Sequence[str]) -> pd.Series:
    if column in TEXT_COLUMNS or not texts:
        return pd.Series(texts, dtype=str if column in TEXT_COLUMNS else float)
    if all(_INTEGER.fullmatch(text) for text in texts):
        return pd.Series(np.array([int(text) for text in texts], dtype=np.int64))
    if all(_DECIMAL.fullmatch(text) for text in texts) and not any(_padded(text) for text in texts):
        return pd.Series(np.array([float(text) for text in texts]))
    return pd.Series(texts, dtype=str)


def _padded(text: str) -> bool:
    """Tell whether the text is a name made of digits, such as 007, or a number too long for an integer."""
    return text.lstrip("+-").isdigit() and _INTEGER.fullmatch(text) is None


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
    """Return one value as it stands in the file."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return _decimal(path, name, float(value))
    if not isinstance(value, str):
        raise DataError(f"{name} holds {value!r}, which a STAR file cannot hold", file=path)
    return _quoted(path, name, value)


def _decimal(path: str | os.PathLike[str], name: str, value: float) -> str:
    if not math.isfinite(value):
        raise DataError(f"{name} holds {value}, which RELION would read as 0", file=path)
    if 1 <= abs(value) < 1e9:
        return f"{value:.6f}"
    return "0.000000" if value == 0 else f"{value:.9e}" if not 1e-3 <= abs(value) < 1 else f"{value:.10f}"


def _quoted(path: str | os.PathLike[str], name: str, value: str) -> str:
    if any(mark != " " and (mark.isspace() or not mark.isprintable()) for mark in value):
        raise DataError(
            f"{name} holds {value!r}: a STAR file cannot hold line breaks, tabs or control characters",
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
        f"{name} holds {value!r}: a STAR file cannot hold both kinds of quotes before blanks",
        file=path,
        remedy="rename it",
    )
