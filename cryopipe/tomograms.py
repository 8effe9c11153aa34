"""The tomogram table: the tomograms of a dataset and what their headers do not state.

Imports little, because the Snakefile imports this module in every job.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryopipe.errors import TableError, check_size, one_line, reading_fault
from cryopipe.volume_names import read_volume_name

COLUMNS = (
    *("tomogram", "path", "voxel_size", "tilt_min", "tilt_max", "contrast", "mask", "exported_name"),
    *(
        "tilt_axis",
        "even",
        "odd",
        "tilt_series",
        "tilt_series_pixel_size",
        "unbinned_size",
        "dose",
        "defocus",
    ),
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
EXPORTED_NAME = re.compile(r"[^\s/\"'#$_;][^\s/\"']*")
"""A name that STAR files can hold and that other programs can use in file names."""
MOST_MISTAKES = 20
"""Mistakes of a table that one message holds."""
LONGEST_MISTAKE = 500
"""Characters of a mistake that are shown."""
CONTRASTS = ("dark", "bright")
TILT_AXES = ("y", "-y", "x", "-x")
"""Tilt axes and senses; see `Tomogram.tilt_axis`."""
ABOUT_X = 1.0
"""Third number of tilts whose axis is along x; 0 or no third number for an axis along y."""
_SIZE = re.compile(r"\s*(\d{1,7})\s*x\s*(\d{1,7})\s*x\s*(\d{1,7})\s*", re.IGNORECASE)
_NUMBERS = (
    ("tilt_series_pixel_size", 0.1, 1000.0, "angstrom"),
    ("dose", 0.0, 100_000.0, "electrons per square angstrom"),
    ("defocus", -100.0, 100.0, "micrometre"),
)
"""Columns of numbers about the tilt series, with their limits and units."""
RESERVED = ("tomograms",)
"""Names of result tables that are in the same folders as the files of the tomograms."""


@dataclass(frozen=True)
class Tomogram:
    """One row of the tomogram table.

    Attributes
    ----------
    name
        Letters, digits, `_` and `-`; part of the names of the tomogram's result files.
    path
        The MRC file, relative to the working directory or absolute.
    voxel_size
        Angstrom; None for the voxel size in the header.
    tilt_range
        Lowest and highest tilt of the tilt series, degrees.
    contrast
        "dark" if particles are darker than their surroundings (raw reconstructions), otherwise "bright".
    mask
        Optional MRC file of the tomogram's shape; particles are picked where it is above 0.
    exported_name
        Name of the tomogram in RELION or Warp, if it is not `name`; exports use it.
    tilt_axis
        "y" if a tilt of t degrees is a right-handed rotation of the specimen about +y by t, the beam along z, as in
        the tomograms of RELION, IMOD (rotated with trimvol -rx) and AreTomo; "-y" for the opposite sense, as in IMOD's
        tomograms flipped with trimvol -yz; "x" or "-x" for a tilt axis along x.
    even, odd
        MRC files of the tomogram from the even and the odd frames, if there are any.
    tilt_series
        File with the geometry of the tilt series, of the program that aligned it.
    tilt_series_pixel_size
        Angstrom; the voxel size divided by the binning.
    unbinned_size
        Size of the tomogram x, y, z in pixels of the tilt series.
    dose
        Electrons per square angstrom of the whole tilt series.
    defocus
        Mean of the tilt series, micrometre, positive for underfocus.
    """

    name: str
    path: str
    voxel_size: float | None = None
    tilt_range: tuple[float, float] = (-60.0, 60.0)
    contrast: str = "dark"
    mask: str | None = None
    exported_name: str | None = None
    tilt_axis: str = "y"
    even: str | None = None
    odd: str | None = None
    tilt_series: str | None = None
    tilt_series_pixel_size: float | None = None
    unbinned_size: tuple[int, int, int] | None = None
    dose: float | None = None
    defocus: float | None = None

    @property
    def tilts(self) -> tuple[float, ...]:
        """Lowest and highest tilt about +y, or about +x; see `signed_tilts`."""
        return signed_tilts(self.tilt_range, self.tilt_axis)


def signed_tilts(tilt_range: tuple[float, float], tilt_axis: str) -> tuple[float, ...]:
    """Return the lowest and highest tilt about +y, degrees; for an axis along x about +x, followed by `ABOUT_X`."""
    low, high = tilt_range
    if tilt_axis.startswith("-"):
        low, high = -high, -low
    return (low, high, ABOUT_X) if tilt_axis.endswith("x") else (low, high)


def read_tomogram_table(
    path: str | Path, tilt_range: tuple[float, float] = (-60.0, 60.0), contrast: str = "dark"
) -> dict[str, Tomogram]:
    """Read the tab-separated tomogram table.

    Parameters
    ----------
    path
        The table; `COLUMNS` is its header. Blank cells take the default; only `tomogram` and `path` are required.
    tilt_range, contrast
        Defaults for blank cells; degrees, and "dark" or "bright".

    Returns
    -------
    The tomograms by name, in the table's order.

    Raises
    ------
    TableError
        One message with all mistakes of the table, each with its line, value and remedy; if there are more than 20, with
        the first 20 and the number of the others.
    """
    rows, problems = _read_rows(Path(path))
    tomograms: dict[str, Tomogram] = {}
    taken: set[str] = set()
    exported_names: set[str | None] = set()
    for line, row in rows:
        tomogram, mistakes = _parse_row(row, tilt_range, contrast)
        if tomogram is not None and tomogram.name.lower() in taken:
            mistakes.append(f"tomogram {tomogram.name!r} is in the table twice; rename one")
        exported = None if tomogram is None else tomogram.exported_name or tomogram.name
        if exported in exported_names:
            mistakes.append(f"exported_name {exported!r} is also in an earlier line; give each its own")
        problems += [f"line {line}: {mistake}" for mistake in mistakes]
        if tomogram is not None:
            tomograms.setdefault(tomogram.name, tomogram)
            taken.add(tomogram.name.lower())
            exported_names.add(exported)
    if not rows and not problems:
        problems.append("no tomograms; add one line per tomogram below the header")
    if problems:
        more = len(problems) - MOST_MISTAKES
        shown = problems[:MOST_MISTAKES] + ([f"{more} more mistakes"] if more > 0 else [])
        error = TableError(shown[0], file=path)
        error.args = ("\n".join(f"{one_line(str(path))}: {_shortened(problem)}" for problem in shown),)
        raise error
    return tomograms


def find_same_files(tomograms: Mapping[str, Tomogram]) -> dict[str, list[str]]:
    """Return for every tomogram, by name, the other tomograms that are the same file, possibly by another path."""
    files: dict[str, list[str]] = {}
    for name, tomogram in tomograms.items():
        # Path.resolve raises an error for links that form a circle
        files.setdefault(os.path.realpath(tomogram.path), []).append(name)
    return {name: [twin for twin in names if twin != name] for names in files.values() for name in names}


def find_same_series(tomograms: Mapping[str, Tomogram]) -> dict[str, list[str]]:
    """Return for every tomogram, by name, the others whose file names are of the same tilt series."""
    series: dict[tuple[str, str], list[str]] = {}
    files = set()
    for name, tomogram in tomograms.items():
        path = os.path.abspath(tomogram.path)
        if path not in files:  # `find_same_files` reports one file in two lines
            series.setdefault(read_volume_name(path).key, []).append(name)
        files.add(path)
    siblings: dict[str, list[str]] = {name: [] for name in tomograms}
    for names in series.values():
        siblings.update({name: [other for other in names if other != name] for name in names})
    return siblings


def blank_cells(path: str | Path) -> dict[str, int]:
    """Return for every optional column the number of tomograms without a value; tilts count if either is blank."""
    rows = [row for _, row in _read_rows(Path(path))[0]]
    blank = {name: sum(not row.get(name) for row in rows) for name in COLUMNS[2:]}
    either = sum(not (row.get("tilt_min") and row.get("tilt_max")) for row in rows)
    return {**blank, "tilt_min": either, "tilt_max": either}


def _read_rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    try:
        check_size(path, 10)
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise TableError(
            "no such file", file=path, remedy="run `cryopipe init` or set `tomograms` in config.yaml"
        ) from None
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise TableError(problem, file=path, remedy=remedy) from error
    kept = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not kept:
        return [], ["the table is empty; its first line must be: " + "<tab>".join(COLUMNS)]
    quoted = kept[0][1].lstrip().startswith('"')  # spreadsheets may put quotes around every cell
    header = _cells(kept[0][1], quoted)
    problems = [f"line {kept[0][0]}: {problem}" for problem in _mistakes_of_header(header)]
    if problems:
        return [], problems
    rows = []
    for line, text in kept[1:]:
        cells = _cells(text, quoted)
        if len(cells) > len(header):
            problems.append(f"line {line}: {len(cells)} cells for {len(header)} columns; remove extra tabs")
            continue
        cells += [""] * (len(header) - len(cells))
        rows.append((line, dict(zip(header, cells, strict=True))))
    return rows, problems


def _shortened(mistake: str) -> str:
    """Return the text without its middle if it is long, for instance because a file of another kind was given."""
    if len(mistake) <= LONGEST_MISTAKE:
        return mistake
    return f"{mistake[: LONGEST_MISTAKE - 260]} ... {mistake[-250:]}"


def _mistakes_of_header(header: list[str]) -> list[str]:
    unknown = ", ".join(repr(name) for name in header if name not in COLUMNS)
    known = f"known: {', '.join(COLUMNS)}"
    if unknown and len(header) == 1:
        return [f"unknown column {unknown}; separate columns by one tab; {known}"]
    missing = " and ".join(repr(name) for name in COLUMNS[:2] if name not in header)
    found = [f"unknown column {unknown}; {known}"] if unknown else []
    return found + ([f"no column {missing}; add it, separated by one tab"] if missing else [])


def _cells(line: str, quoted: bool) -> list[str]:
    """Return the cells of a line; a doubled quote within quotes is one quote."""
    cells = [cell.strip() for cell in line.split("\t")]
    if not quoted:
        return cells
    return [
        cell[1:-1].replace('""', '"').strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell
        for cell in cells
    ]


def _parse_row(
    row: dict[str, str], tilt_range: tuple[float, float], contrast: str
) -> tuple[Tomogram | None, list[str]]:
    problems: list[str] = []
    name, path = row["tomogram"], row["path"]
    if not NAME.fullmatch(name):
        problems.append(
            f"tomogram name {name!r}; use letters, digits, '_' and '-' only; other programs' name for it goes into "
            "the column exported_name"
        )
    elif name.lower() in RESERVED:
        problems.append(f"tomogram name {name!r} is taken by a table of the results; rename it")
    if not path:
        problems.append("path is blank; give the MRC file")
    elif not path.isprintable():
        problems.append(f"path {path!r} holds control characters; rename the file")
    voxel_size = _number(row, "voxel_size", None, problems)
    if voxel_size is not None and not 0.1 <= voxel_size <= 1000:
        problems.append(
            f"voxel_size {voxel_size:g}; give angstrom, 0.1 to 1000, or leave it blank for the header's"
        )
    low = _number(row, "tilt_min", tilt_range[0], problems)
    high = _number(row, "tilt_max", tilt_range[1], problems)
    if low is not None and high is not None and not -90 <= low < high <= 90:
        problems.append(f"tilt range {low:g} to {high:g}; give degrees with -90 <= tilt_min < tilt_max <= 90")
    shade = row.get("contrast") or contrast
    if shade not in CONTRASTS:
        problems.append(f"contrast {shade!r}; give dark or bright")
    exported = row.get("exported_name") or None
    if exported is not None and not (EXPORTED_NAME.fullmatch(exported) and exported.isprintable()):
        problems.append(
            f"exported_name {exported!r}; give one word without '/' and quotes, or leave it blank"
        )
    series = _read_series(row, problems)
    if problems or low is None or high is None:
        return None, problems
    mask = row.get("mask") or None
    return Tomogram(name, path, voxel_size, (low, high), shade, mask, exported, **series), []


def _read_series(row: dict[str, str], problems: list[str]) -> dict[str, Any]:
    """Return the values of the columns about the tilt series; mistakes are added to `problems`."""
    axis = row.get("tilt_axis") or "y"
    if axis not in TILT_AXES:
        problems.append(f"tilt_axis {axis!r}; give {', '.join(TILT_AXES[:-1])} or {TILT_AXES[-1]}")
    size = row.get("unbinned_size") or None
    match = _SIZE.fullmatch(size or "")
    if size is not None and match is None:
        problems.append(f"unbinned_size {size!r}; give pixels along x, y and z, such as 4000x4000x2000")
    numbers = {}
    for column, low, high, unit in _NUMBERS:
        numbers[column] = value = _number(row, column, None, problems)
        if value is not None and not low <= value <= high:
            problems.append(f"{column} {value:g}; give {unit}, {low:g} to {high:g}, or leave it blank")
    return {
        **{name: row.get(name) or None for name in ("even", "odd", "tilt_series")},
        **numbers,
        "tilt_axis": axis,
        "unbinned_size": None if match is None else tuple(int(number) for number in match.groups()),
    }


def _number(row: dict[str, str], column: str, default: float | None, problems: list[str]) -> float | None:
    text = row.get(column, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problems.append(f"{column} {text!r} is not a number; give a number or leave it blank")
        return None
    return value
