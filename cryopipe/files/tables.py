"""Tab-separated tables of results."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pandas as pd

from cryopipe.errors import FileError
from cryopipe.files.atomic import write_text

TEXT_COLUMNS = ("tomogram", "particle", "cluster", "path", "mask", "problem", "remedy", "status", "contrast")
"""Columns that remain text even if every value looks like a number."""


def write_table(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table as tab-separated UTF-8 text with one header line; missing values are left blank.

    Parameters
    ----------
    path
        The file; written atomically.
    table
        Columns with string names; the index is not written. Numbers keep their full precision.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    write_text(path, table.to_csv(sep="\t", index=False, lineterminator="\n"))


def read_table(path: str | os.PathLike[str], text_columns: Iterable[str] = TEXT_COLUMNS) -> pd.DataFrame:
    """Read a table written by `write_table`.

    Parameters
    ----------
    path
        The tab-separated file.
    text_columns
        Columns that are always text; their blank cells are empty strings. In other columns, blank cells are NaN.

    Raises
    ------
    FileError
        If the file is missing, empty or not a tab-separated table.
    """
    names = set(text_columns)
    try:
        header = pd.read_csv(path, sep="\t", nrows=0, encoding="utf-8").columns
        text = [name for name in header if name in names]
        table = pd.read_csv(
            path,
            sep="\t",
            encoding="utf-8",
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={name: [""] for name in header if name not in names},
        )
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="run the rule that writes it") from None
    except (ValueError, OSError) as error:
        raise FileError(
            f"is not a tab-separated table ({error})", file=path, remedy="remove it and run again"
        ) from error
    return table


def write_csv(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table as comma-separated UTF-8 text with one header line, for other programs.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_csv(path: str | os.PathLike[str], text_columns: Iterable[str]) -> pd.DataFrame:
    """Read a table with one header line, separated by commas, semicolons or tabs.

    Parameters
    ----------
    path
        The file of any program.
    text_columns
        Columns that are always text.

    Raises
    ------
    FileError
        If the file is missing, empty or not a table.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            header = stream.readline()
        separator = max(",;\t", key=header.count)
        return pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            skipinitialspace=True,
            dtype=dict.fromkeys(text_columns, str),
            keep_default_na=False,
        )
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="correct the path") from None
    except (ValueError, OSError) as error:
        raise FileError(
            f"is not a table with one header line ({error})", file=path, remedy="give a .csv file"
        ) from error
