"""Reading of the user's labelled particles: STAR, TSV or CSV."""

from __future__ import annotations

import csv
import difflib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.errors import FileError, reading_fault
from cryopipe.files.star import read_particles

ANGSTROM = ("cryopipeCoordinateXAngst", "cryopipeCoordinateYAngst", "cryopipeCoordinateZAngst")
"""Columns of positions in angstrom from the centre of the tomogram's first voxel."""
BLANK = ("", "none", "nan", "?", "<na>")
"""Labels, in lower case, of particles without a label."""
FEWEST = 2
"""Examples that each class needs: one does not show how much particles of a class differ."""
_PLACES = f"{columns.PARTICLE}, or {columns.TOMOGRAM} and {', '.join(columns.COORDINATES)}"


def read_labels(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the labelled particles of a file and check them against each other.

    Parameters
    ----------
    path
        STAR file (block `particles`, or its only block), or a table with a header line, separated by tabs (.tsv, .txt)
        or commas (.csv). It needs the column cryopipeLabel, and either positions (rlnTomoName with rlnCoordinateX, Y, Z
        in voxels of the tomogram, from 0, or cryopipeCoordinateXAngst, Y, Z) or names (rlnTomoParticleName).

    Returns
    -------
    One row per labelled particle, with the columns of the file; rows without a label are left out.

    Raises
    ------
    FileError
        If the file is missing, lacks a column, or its labels cannot be used.
    """
    table = _read_table(Path(path))
    if columns.LABEL not in table:
        near = difflib.get_close_matches(columns.LABEL, [str(name) for name in table], n=1, cutoff=0.6)
        remedy = (
            f"rename {near[0]} to {columns.LABEL}"
            if near
            else "add it, with the name of each particle's class"
        )
        raise FileError(f"has no column {columns.LABEL}", file=path, remedy=remedy)
    table[columns.LABEL] = table[columns.LABEL].astype(str).str.strip()
    table = table[~table[columns.LABEL].str.lower().isin(BLANK)].reset_index(drop=True)
    if position_columns(table) is None and columns.PARTICLE not in table:
        raise FileError("does not say which particles are labelled", file=path, remedy=f"add {_PLACES}")
    _check_positions(table, path)
    _check_classes(table, path)
    return table


def position_columns(table: pd.DataFrame) -> tuple[str, ...] | None:
    """Return the columns of the positions, in angstrom or voxels; None if the table has names only."""
    for names in (ANGSTROM, columns.COORDINATES):
        if {columns.TOMOGRAM, *names} <= set(table):
            return names
    return None


def _read_table(path: Path) -> pd.DataFrame:
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return read_particles(path).copy()
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, delimiter="," if path.suffix.lower() == ".csv" else "\t"))
    except (OSError, ValueError, csv.Error) as error:
        problem, remedy = (
            reading_fault(error) if not isinstance(error, csv.Error) else (str(error), "write it again")
        )
        raise FileError(problem, file=path, remedy=remedy) from error
    lines = [(number, row) for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise FileError(
                f"line {number} has {len(row)} values for {len(header)} columns",
                file=path,
                remedy="separate the values of a .csv by commas, of other tables by tabs",
            )
    cells = [[cell.strip() for cell in row] for _, row in lines[1:]]
    return pd.DataFrame(cells, columns=header, dtype=str)


def _check_positions(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Convert positions to numbers in place, and refuse particles without a usable position or with two labels."""
    names = position_columns(table)
    for name in names or ():
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise FileError(
                f"{name} of labelled particle {wrong[0] + 1} is {str(table[name].iloc[wrong[0]])!r}, not a number",
                file=path,
                remedy="correct it",
            )
        table[name] = values
    key = [columns.TOMOGRAM, *names] if names else [columns.PARTICLE]
    twice = table[table.duplicated(key)]
    if len(twice):
        where = " ".join(str(value) for value in twice[key].iloc[0])
        raise FileError(f"{where!r} is labelled twice", file=path, remedy="give each particle one row")


def _check_classes(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    counts = table[columns.LABEL].value_counts().sort_index()
    if not len(counts):
        raise FileError("has no labelled particles", file=path, remedy=f"fill in the column {columns.LABEL}")
    bad = next((name for name in counts.index if not name.isprintable()), None)
    if bad is not None:
        raise FileError(
            f"the label {bad!r} has characters that cannot be printed", file=path, remedy="rename it"
        )
    seen: dict[str, str] = {}
    for name in counts.index:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise FileError(
                f"has the classes {other!r} and {name!r}",
                file=path,
                remedy="write the names of classes in one way",
            )
    if columns.NO_CLASS in seen:
        raise FileError(
            f"has a class {columns.NO_CLASS!r}, the name of the particles of no class",
            file=path,
            remedy="rename it",
        )
    if len(counts) < 2:
        raise FileError(
            f"has only one class, {counts.index[0]!r}",
            file=path,
            remedy="label particles of at least two classes, for example what you look for and what you do not",
        )
    single = counts[counts < FEWEST]
    if len(single):
        raise FileError(
            f"class {single.index[0]!r} has a single example",
            file=path,
            remedy=f"label {FEWEST} or more of each class",
        )
