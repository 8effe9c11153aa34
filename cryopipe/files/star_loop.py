"""Reading of STAR loops without quotes and comments with pandas, and the types of STAR columns.

pandas reads 007 as 7, `nan` as a missing number and `True` as a boolean, and completes short rows. Loops in which this
can occur are read as text and typed by the rules of this module, or left to `cryopipe.files.star`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cryopipe.columns import TEXT_COLUMNS

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = 1e18
"""Integers below this limit have at most 18 digits and fit into 64 bits."""
_OTHER_BLANKS = "\x0b\x0c\x1c\x1d\x1e\x1f\r\x00"
"""ASCII blanks that separate values in Python but not in pandas, and the zero byte, which ends a text in C."""
_MARKS = "'\"#" + _OTHER_BLANKS
_BLANKS_BEYOND_ASCII = re.compile(r"[^\S\x00-\x7f]")
_BLANK, _SIGN, _ZERO, _DIGIT, _OTHER = b" -01x"
_CLASSES = bytes(
    {" ": _BLANK, "\t": _BLANK, "\n": _BLANK, "+": _SIGN, "-": _SIGN, "0": _ZERO}.get(
        chr(byte), _DIGIT if chr(byte) in "123456789" else _OTHER
    )
    for byte in range(256)
)
"""Table of `bytes.translate`."""
_DIGITS = re.compile(rb"[01]+ ")
_EXACT: dict[str, Any] = (
    {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}
)
"""Makes pandas before 3.1 read numbers as Python does, to the last bit."""


def typed(column: str, texts: Sequence[str]) -> pd.Series:
    """Return the values of a column: integers or floating-point numbers if all are, otherwise text.

    Columns of names (`cryopipe.columns.TEXT_COLUMNS`), numbers with leading zeros and integers of more than 18 digits
    remain text.
    """
    if column in TEXT_COLUMNS or not len(texts):
        return pd.Series(texts, dtype=str if column in TEXT_COLUMNS else float)
    if all(_INTEGER.fullmatch(text) for text in texts):
        return pd.Series(np.array([int(text) for text in texts], dtype=np.int64))
    if all(_DECIMAL.fullmatch(text) for text in texts) and not any(_padded(text) for text in texts):
        return pd.Series(np.array([float(text) for text in texts]))
    return pd.Series(texts, dtype=str)


def read_plain_loop(columns: Sequence[str], lines: Sequence[str]) -> pd.DataFrame | None:
    """Read the rows of a loop, one per line; None if there are quotes, comments in rows, or rows of other lengths."""
    body = "\n".join(lines)
    if "#" in body:
        body = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    if not columns or not body.strip() or any(mark in body for mark in _MARKS):
        return None
    if not body.isascii() and _BLANKS_BEYOND_ASCII.search(body):
        return None
    encoded = body.encode()
    table = _read(columns, encoded, as_text=_holds_padded_digits(encoded))
    if table is None or all(_as_typed(table[column]) for column in table):
        return table
    return _read(columns, encoded, as_text=True)


def _read(columns: Sequence[str], body: bytes, as_text: bool) -> pd.DataFrame | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a first row that is too long
            table = pd.read_csv(
                io.BytesIO(body),
                sep=r"\s+",
                header=None,
                names=list(columns),
                index_col=False,
                dtype=str if as_text else None,
                quoting=3,
                na_filter=False,
                low_memory=False,
                **_EXACT,
            )
    except (ValueError, pd.errors.ParserWarning):
        return None
    last = table[table.columns[-1]]
    if not pd.api.types.is_numeric_dtype(last) and not last.astype(bool).all():
        return None  # a row is too short
    return pd.DataFrame({name: typed(name, table[name].tolist()) for name in table}) if as_text else table


def _holds_padded_digits(body: bytes) -> bool:
    """Return whether there is a value such as 007 or -01."""
    classes = b"  " + body.translate(_CLASSES) + b" "
    codes = np.frombuffer(classes, np.uint8)
    padded = (codes[2:-1] == _ZERO) & (codes[1:-2] <= _SIGN) & ((codes[3:] ^ _ZERO) <= 1)
    at = np.flatnonzero(padded) + 2
    at = at[(codes[at - 1] == _BLANK) | (codes[at - 2] == _BLANK)]  # -05 in 1e-05 begins no value
    return any(_DIGITS.match(classes, index) for index in at.tolist())


def _as_typed(values: pd.Series) -> bool:
    """Return whether pandas' type of a column is the same as that of `typed`."""
    if values.dtype in (np.int64, np.float64) and values.name not in TEXT_COLUMNS:
        return bool((np.abs(values.to_numpy()) < _LARGEST).all())
    return pd.api.types.is_string_dtype(values) and not pd.api.types.is_numeric_dtype(values)


def _padded(text: str) -> bool:
    """Return whether the text is a name of digits, such as 007, or too long for an integer."""
    return text.lstrip("+-").isdigit() and _INTEGER.fullmatch(text) is None
