"""Rows of a new tomogram table: tomogram files, their names, and metadata from headers and tilt files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryopipe.errors import CryopipeError, TableError
from cryopipe.files.metadata import find_tilt_file, read_tilt_range, tilt_angles
from cryopipe.files.mrc import read_header
from cryopipe.tomograms import COLUMNS, EXPORTED_NAME, NAME, RESERVED
from cryopipe.volume_names import STACK, STACK_SUFFIXES, choose_volumes, read_volume_name, why_left_out

SUFFIXES = (".mrc", ".rec", ".map")
"""Suffixes of the tomograms in a directory."""
LONGEST_NAME = 80
"""Characters; the names of result files must not exceed the 255 that file systems allow."""
TABLE_HEADING = """# The tomograms of this dataset, one per line, columns separated by one tab. Blank voxel_size (angstrom): as in the
# file's header. Blank tilts (degrees) or contrast (dark or bright): as in config.yaml, section imaging.
# mask: an MRC file of the tomogram's shape; particles are picked where it is above 0.
# exported_name: the name of the tomogram in RELION or Warp, if different; exports use it.
"""


@dataclass(frozen=True)
class Row:
    """One line of a new tomogram table.

    Attributes
    ----------
    path
        The tomogram's file.
    name
        The tomogram's name; blank until all rows are known.
    tilt_range
        Lowest and highest tilt as text; blank if no file contains them.
    voxel_size
        Angstrom as text; blank for that of the header.
    contrast
        "dark" or "bright"; blank for that of the configuration.
    exported_name
        The name that other programs use, if different.
    unusable
        The reason if the tomogram cannot be used, which comments out its line; otherwise blank.
    remarks
        Messages for the user.
    header_voxel_size
        Angstrom, if the header states it.
    """

    path: Path
    name: str = ""
    tilt_range: tuple[str, str] = ("", "")
    voxel_size: str = ""
    contrast: str = ""
    exported_name: str = ""
    unusable: str = ""
    remarks: tuple[str, ...] = ()
    header_voxel_size: float | None = None

    def cells(self) -> dict[str, str]:
        """Return the row's cells by column."""
        low, high = self.tilt_range
        values = (
            self.name,
            str(self.path),
            self.voxel_size,
            low,
            high,
            self.contrast,
            "",
            self.exported_name,
        )
        return dict(zip(COLUMNS, values, strict=True))


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


def describe(path: Path, voxel_size: float | None) -> Row:
    """Return a tomogram's row from its header and the tilt file in its folder."""
    try:
        header = read_header(path)
    except CryopipeError as error:
        return Row(path, unusable=str(error))
    remarks = []
    size = ""
    if header.voxel_size is None and voxel_size is not None:
        size = f"{voxel_size:g}"
    elif header.voxel_size is None:
        remarks.append(f"{header.voxel_size_problem}; write it into the column voxel_size")
    tilts = ("", "")
    source = find_tilt_file(path)
    if source is not None:
        try:
            low, high = read_tilt_range(source)
            tilts = (f"{low:g}", f"{high:g}")
            if header.shape_zyx[0] == tilt_angles(source).size:
                remarks.append(f"has as many sections as {source} has tilts; is it the tilt series itself?")
        except CryopipeError as error:
            remarks.append(f"tilt range left blank: {error}")
    return Row(
        path, tilt_range=tilts, voxel_size=size, remarks=tuple(remarks), header_voxel_size=header.voxel_size
    )


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
    kept, left_out = [], []
    for row in rows:
        name = read_volume_name(row.path)
        taken = of_series.get(name.key, row.path)
        if name.key in present:
            left_out.append(f"{row.path}: of the same tilt series as {present[name.key]} in the table")
        elif taken != row.path or name.part == STACK:
            left_out.append(f"{row.path}: {why_left_out(row.path, taken)}")
        else:
            kept.append(row)
    return kept, left_out


def named(
    rows: Sequence[Row], taken_names: Iterable[str] = (), taken_exported: Iterable[str] = ()
) -> list[Row]:
    """Set every row's name, and its name in other programs if that is different and unique."""
    names = unique_names([row.path for row in rows], taken_names)
    series = [read_volume_name(row.path).series for row in rows]
    count = Counter([*series, *taken_exported])
    return [
        replace(
            row, name=name, exported_name=own if own != name and _can_be_exported(own, count, names) else ""
        )
        for row, name, own in zip(rows, names, series, strict=True)
    ]


def unique_names(paths: Sequence[Path], taken_names: Iterable[str] = ()) -> list[str]:
    """Return a unique tomogram name for each path, of letters, digits, `_` and `-`.

    The name is that of the tilt series, or otherwise of the file; if several files have the same name, the directory is
    put before it; if the names are still the same, a number is appended. Names must differ in more than upper and lower
    case, because some file systems do not distinguish them.
    """
    taken = {*RESERVED, *(name.lower() for name in taken_names)}
    candidates = []
    for pick in (lambda path: read_volume_name(path).series, lambda path: path.stem):
        slugs = [_slug(pick(path)) for path in paths]
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
    lines = ["\t".join(COLUMNS), *(line for row in rows for line in _lines(row, COLUMNS))]
    return TABLE_HEADING + "\n".join(lines) + "\n"


def add_rows(table: str, rows: Sequence[Row]) -> str:
    """Return a table's text with rows added at its end; existing rows do not change.

    A column that a new row needs and the table lacks is added to the heading; existing rows need no change, because
    blank cells at the end of a line may be missing.
    """
    newline = "\r\n" if "\r\n" in table else "\n"
    lines = table.splitlines(keepends=True)
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
