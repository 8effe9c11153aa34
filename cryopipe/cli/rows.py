"""Rows of a new tomogram table: tomogram files, their names, and metadata from headers and tilt files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryopipe.errors import TableError, one_line
from cryopipe.files.projects import Series
from cryopipe.files.projects.volumes import SUFFIXES, half_volume
from cryopipe.tomograms import COLUMNS, EXPORTED_NAME, NAME, RESERVED
from cryopipe.volume_names import (
    HALF,
    STACK,
    STACK_SUFFIXES,
    choose_volumes,
    read_volume_name,
    why_left_out,
)

LONGEST_NAME = 80
"""Characters; the names of result files must not exceed the 255 that file systems allow."""
TABLE_HEADING = """# The tomograms of this dataset, one per line, columns separated by one tab. Blank voxel_size (angstrom): as in the
# file's header. Blank tilts (degrees) or contrast (dark or bright): as in config.yaml, section imaging.
# mask: an MRC file of the tomogram's shape; particles are picked where it is above 0.
# exported_name: the name of the tomogram in RELION or Warp, if different; exports use it.
# Columns about the tilt series are explained in config/README.md.
"""
USUAL_COLUMNS = COLUMNS[:8]
"""Columns that every new table has."""


@dataclass(frozen=True)
class Row:
    """One line of a new tomogram table.

    Attributes
    ----------
    path
        The tomogram's file.
    name
        The tomogram's name; blank until all rows are known.
    series
        What is known of its tilt series.
    voxel_size
        Angstrom as text; blank for that of the header.
    contrast
        "dark" or "bright"; blank for that of the configuration.
    exported_name
        The name that other programs use, if different from `name`.
    unusable
        The reason if the tomogram cannot be used, which comments out its line; otherwise blank.
    remarks
        Messages for the user.
    header_voxel_size
        Angstrom, if the header states it.
    program_contrast
        "dark" or "bright" as the tomograms of the program are by default; blank if unknown.
    """

    path: Path
    series: Series
    name: str = ""
    voxel_size: str = ""
    contrast: str = ""
    exported_name: str = ""
    unusable: str = ""
    remarks: tuple[str, ...] = ()
    header_voxel_size: float | None = None
    program_contrast: str = ""

    def cells(self) -> dict[str, str]:
        """Return the row's cells by column."""
        series = self.series
        low, high = series.tilt_range or (None, None)
        size = series.unbinned_size
        return {
            "tomogram": self.name,
            "path": str(self.path),
            "voxel_size": self.voxel_size,
            "tilt_min": _text(low),
            "tilt_max": _text(high),
            "contrast": self.contrast,
            "mask": "",
            "exported_name": self.exported_name,
            "tilt_axis": "" if series.tilt_axis == "y" else series.tilt_axis,
            "even": _text(series.even),
            "odd": _text(series.odd),
            "tilt_series": _text(series.tilt_series),
            "tilt_series_pixel_size": _text(series.tilt_series_pixel_size),
            "unbinned_size": "" if size is None else "x".join(map(str, size)),
            "dose": _text(series.dose),
            "defocus": _text(series.defocus),
        }


def find_tomograms(paths: Iterable[Path], hidden: bool = False) -> tuple[list[Path], list[str]]:
    """Return the absolute paths of files and of the MRC files in directories, without repeats, and what was left out.

    Parameters
    ----------
    paths
        Files and directories.
    hidden
        Whether to include hidden files among `paths`; those in a directory are always left out.

    Raises
    ------
    TableError
        With all missing paths, directories without tomograms, and names that a table cannot contain.
    """
    found: list[Path] = []
    problems: list[str] = []
    left_out: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.is_file() and _is_mrc(file))
            visible = [file for file in inside if not file.name.startswith(".")]
            if not any(file.suffix.lower() in SUFFIXES for file in visible):
                problems.append(
                    f"{path}: a directory without {', '.join(SUFFIXES)} files; give the MRC files"
                )
            left_out += [f"{file}: a hidden file" for file in inside if file not in visible]
            found += visible
        elif not path.exists():
            problems.append(f"{path}: no such file; correct the path")
        elif path.name.startswith(".") and not hidden:
            left_out.append(f"{path}: a hidden file")
        else:
            found.append(path)
    absolute = list(dict.fromkeys(path.absolute() for path in found))
    for path in absolute:
        text = str(path)
        if not text.isprintable() or text != text.strip():
            problems.append(
                f"{text!r}: a table cannot contain a path with tabs, line breaks, control characters or a space "
                "at its end; rename the file or make a link to it"
            )
    if problems:
        raise TableError(" | ".join(problems))
    return absolute, left_out


def one_per_series(
    rows: Sequence[Row], present: Mapping[tuple[str, str], str]
) -> tuple[list[Row], list[str]]:
    """Keep one volume of every tilt series; see `cryopipe.volume_names.choose_volumes`.

    Parameters
    ----------
    rows
        All rows; an unusable one is kept if its tilt series has no other volume.
    present
        The tilt series that are already in the table, with the names of their tomograms.

    Returns
    -------
    The rows kept, and the reason for leaving out each of the others.
    """
    usable = {row.path: row.header_voxel_size for row in rows if not row.unusable}
    chosen = choose_volumes(usable, usable)
    of_series = {read_volume_name(path).key: path for path in chosen.values()}
    kept: list[Row] = []
    left_out: list[str] = []
    halves: dict[Path, list[Path]] = {}
    for row in rows:
        name = read_volume_name(row.path)
        taken = of_series.get(name.key, row.path)
        if name.key in present:
            left_out.append(f"{row.path}: of the same tilt series as {present[name.key]} in the table")
        elif taken != row.path or name.part == STACK:
            left_out.append(f"{row.path}: {why_left_out(row.path, taken)}")
            if name.part == HALF:
                halves.setdefault(taken, []).append(row.path)
        else:
            kept.append(row)
    return [_with_halves(row, halves.get(row.path, []), usable) for row in kept], left_out


def _with_halves(row: Row, halves: Sequence[Path], sizes: Mapping[Path, float | None]) -> Row:
    """Return the row with the volumes of the even and the odd frames."""
    known = {path: sizes.get(path) for path in halves}
    even, odd = (half_volume(halves, number, row.header_voxel_size, known) for number in (0, 1))
    return replace(row, series=replace(row.series, even=even, odd=odd))


def named(
    rows: Sequence[Row], taken_names: Iterable[str] = (), taken_exported: Iterable[str] = ()
) -> list[Row]:
    """Set every row's name, and its name in other programs if that is different and unique."""
    series = [row.series.name for row in rows]
    names = unique_names([row.path for row in rows], taken_names, series)
    count = Counter([*series, *taken_exported])
    result = []
    for row, name, own in zip(rows, names, series, strict=True):
        exported = own if own != name and _can_be_exported(own, count, names) else ""
        lost = own != name and not exported
        why = "several tomograms have it" if count[own] > 1 else "STAR files cannot contain it"
        remark = f"exports use the name {name}, not {one_line(own)}: {why}"
        remarks = (*row.remarks, remark) if lost else row.remarks
        result.append(replace(row, name=name, exported_name=exported, remarks=remarks))
    return result


def unique_names(
    paths: Sequence[Path], taken_names: Iterable[str] = (), series: Sequence[str] | None = None
) -> list[str]:
    """Return a unique tomogram name for each path, of letters, digits, `_` and `-`.

    The name is that of the tilt series, or otherwise of the file; if several files have the same name, the directory is
    put before it; if the names are still the same, a number is appended. Names must differ in more than upper and lower
    case, because some file systems do not distinguish them. `series` are the names of the tilt series in their program, if
    they are not those of the files.
    """
    taken = {*RESERVED, *(name.lower() for name in taken_names)}
    candidates = []
    of_series = series or [read_volume_name(path).series for path in paths]
    for own_names in (of_series, [path.stem for path in paths]):
        slugs = [_slug(name) for name in own_names]
        count = Counter(slug.lower() for slug in slugs)
        candidates.append([slug if count[slug.lower()] == 1 else None for slug in slugs])
    names: list[str] = []
    for path, *own in zip(paths, *candidates, strict=True):
        free = [name for name in own if name is not None and name.lower() not in taken]
        base = free[0] if free else _slug(f"{path.parent.name}_{path.stem}")
        name, number = base, 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def render_table(rows: Iterable[Row]) -> str:
    """Return the text of the tomogram table; tomograms that cannot be used are commented out."""
    rows = list(rows)
    filled = {name for row in rows for name, cell in row.cells().items() if cell}
    columns = [name for name in COLUMNS if name in USUAL_COLUMNS or name in filled]
    lines = ["\t".join(columns), *(line for row in rows for line in _lines(row, columns))]
    return TABLE_HEADING + "\n".join(lines) + "\n"


def add_rows(table: str, rows: Sequence[Row]) -> str:
    """Return a table's text with rows added at its end; existing rows do not change.

    A column that a new row needs and the table lacks is added to the heading; existing rows need no change, because
    blank cells at the end of a line may be missing.
    """
    newline = "\r\n" if "\r\n" in table else "\n"
    lines = re.findall(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+", table)
    plain = [line.removeprefix("\ufeff").rstrip("\r\n") for line in lines]
    heading = next(n for n, line in enumerate(plain) if line.strip() and not line.startswith("#"))
    known = [cell.strip() for cell in plain[heading].split("\t")]
    filled = {name for row in rows for name, cell in row.cells().items() if cell}
    missing = [name for name in COLUMNS if name in filled and name not in known]
    end = len(lines[heading].rstrip("\r\n"))
    lines[heading] = "".join([lines[heading][:end], *(f"\t{name}" for name in missing), lines[heading][end:]])
    if plain[-1] == lines[-1].removeprefix("\ufeff"):
        lines.append(newline)
    added = [line for row in rows for line in _lines(row, [*known, *missing])]
    return "".join([*lines, *(line + newline for line in added)])


def _text(value: object) -> str:
    return "" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)


def _lines(row: Row, columns: Sequence[str]) -> list[str]:
    cells = row.cells()
    line = "\t".join(cells[name] for name in columns)
    return [f"# left out: {row.unusable}", f"# {line}"] if row.unusable else [line]


def _is_mrc(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIXES, *STACK_SUFFIXES)


def _can_be_exported(name: str, count: Mapping[str, int], names: Sequence[str]) -> bool:
    alone = count[name] == 1 and name not in names
    return alone and name.isprintable() and EXPORTED_NAME.fullmatch(name) is not None


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:LONGEST_NAME]
    return slug if NAME.fullmatch(slug) else "tomogram"
