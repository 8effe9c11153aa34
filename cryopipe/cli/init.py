"""`cryopipe init`: a directory from which the pipeline runs on somebody's tomograms."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cryopipe.config_pages import render_config
from cryopipe.errors import CryopipeError, FileError, TableError, one_line
from cryopipe.files.atomic import write_text
from cryopipe.files.metadata import find_tilt_file, read_tilt_range, tilt_angles
from cryopipe.files.mrc import read_header
from cryopipe.installation import ROOT
from cryopipe.tomograms import COLUMNS, CONTRASTS, NAME, RESERVED

SUFFIXES = (".mrc", ".rec", ".map")
"""What is taken for a tomogram in a directory; .st is a tilt series more often than not, and is to be named."""
LONGEST_NAME = 80
"""Letters; file names of the results have to stay below the 255 that file systems allow."""
CONFIG_HEADING = """cryopipe: every option with its default. Edit what you need; a missing line takes its default.
Two matter most: the particles' diameters (pick) and the box (subtomograms)."""
TABLE_HEADING = """# The tomograms of this dataset, one per line, columns parted by one tab. A blank voxel_size (angstrom) takes
# the header's; blank tilts (degrees) and a blank contrast (dark or bright) take those of config.yaml, section
# imaging. mask: an MRC file of the tomogram's shape; particles are picked where it is above 0.
"""
SNAKEFILE = """# cryopipe on the tomograms of config/tomograms.tsv. Run `snakemake --cores all` in this directory, or
# `snakemake --profile slurm` on a cluster.
import sys

try:
    from cryopipe.installation import SNAKEFILE
except ModuleNotFoundError as error:
    sys.exit(f"Error: {sys.executable} has no {error.name}; activate the environment in which cryopipe is installed")


configfile: "config/config.yaml"


module cryopipe:
    snakefile:
        SNAKEFILE
    config:
        config


use rule * from cryopipe


onsuccess:
    from pathlib import Path

    summary = Path("results/report/summary.txt")
    print(summary.read_text(encoding="utf-8") if summary.is_file() else "Done.")
"""


@dataclass(frozen=True)
class Row:
    """One line of the tomogram table to be.

    Attributes
    ----------
    name, path
        The tomogram and its file.
    tilt_range
        Lowest and highest tilt as text; blank where no file tells.
    voxel_size
        Angstrom as text; blank leaves it to the header.
    unusable
        Why the tomogram cannot be used, or blank; its line is then commented out.
    remarks
        What the user should know about it.
    """

    name: str
    path: Path
    tilt_range: tuple[str, str]
    voxel_size: str
    unusable: str
    remarks: tuple[str, ...]


def init(
    dataset: Annotated[Path, typer.Argument(help="Directory to set up; it is made if need be.")],
    tomograms: Annotated[list[Path], typer.Argument(help="MRC files, or directories of them.")],
    contrast: Annotated[
        str, typer.Option(help="dark or bright: how the particles look in all these tomograms.")
    ] = "dark",
    voxel_size: Annotated[
        float | None, typer.Option(help="Angstrom; for tomograms whose header does not know it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what an earlier init wrote.")] = False,
) -> None:
    """Set up a dataset directory: table of tomograms, configuration, Snakefile and Slurm profile.

    Headers are read, and tilt ranges are taken from a .tlt, .rawtlt, .aln, .xml or .mdoc file beside each
    tomogram where there is one. The tomograms themselves are neither copied nor changed.
    """
    if dataset.exists() and not dataset.is_dir():
        raise FileError("is a file", file=dataset, remedy="name the directory to set up before the tomograms")
    if contrast not in CONTRASTS:
        raise TableError(f"contrast {contrast!r}", remedy="give dark or bright")
    if voxel_size is not None and not 0.1 <= voxel_size <= 1000:
        raise TableError(f"voxel size {voxel_size:g}", remedy="give angstrom, 0.1 to 1000")
    paths = find_tomograms(tomograms)
    rows = [describe(name, path, voxel_size) for name, path in zip(unique_names(paths), paths, strict=True)]
    if all(row.unusable for row in rows):
        raise FileError(" | ".join(dict.fromkeys(row.unusable for row in rows)))
    files = {
        dataset / "config" / "tomograms.tsv": render_table(rows),
        dataset / "config" / "config.yaml": render_config(
            CONFIG_HEADING, {"imaging": {"contrast": contrast}}
        ),
        dataset / "Snakefile": SNAKEFILE,
    }
    for profile in sorted((ROOT / "workflow" / "profiles" / "slurm").iterdir()):
        files[dataset / "slurm" / profile.name] = profile.read_text(encoding="utf-8")
    existing = [str(path) for path in files if path.exists() or path.is_symlink()]
    if existing and not force:
        raise FileError(
            "would be overwritten", file=", ".join(existing), remedy="give --force or another directory"
        )
    for path, text in files.items():
        write_text(path, text)
    typer.echo(_report(dataset, rows))


def find_tomograms(paths: Iterable[Path]) -> list[Path]:
    """Return the absolute paths of files, and of the MRC files in directories, each once.

    Raises
    ------
    TableError
        Naming all that are missing, empty of tomograms, or have a name that no table can hold.
    """
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()
            )
            if not inside:
                problems.append(
                    f"{path}: a directory without {', '.join(SUFFIXES)} files; give the MRC files"
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            problems.append(f"{path}: no such file; correct the path")
    absolute = list(dict.fromkeys(path.absolute() for path in found))
    for path in absolute:
        text = str(path)
        if not text.isprintable() or text != text.strip():
            problems.append(
                f"{text!r}: a table cannot hold a path with tabs, line breaks, unreadable characters or a blank "
                "at its end; rename it or link to it"
            )
    if problems:
        raise TableError(" | ".join(problems))
    return absolute


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Derive a tomogram's name from each path: letters, digits, `_` and `-`, no two alike.

    Names follow the file; where several files have the same name, the directory goes before it; where
    that does not help, a number follows. Upper and lower case do not count as a difference, since they do
    not on every file system.
    """
    stems = [_slug(path.stem) for path in paths]
    folded = [stem.lower() for stem in stems]
    names: list[str] = []
    taken = set(RESERVED)
    for path, stem in zip(paths, stems, strict=True):
        base = stem if folded.count(stem.lower()) == 1 else _slug(f"{path.parent.name}_{path.stem}")
        name, number = base, 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def describe(name: str, path: Path, voxel_size: float | None) -> Row:
    """Read what a tomogram's header and the tilt file beside it say."""
    try:
        header = read_header(path)
    except CryopipeError as error:
        return Row(name, path, ("", ""), "", str(error), ())
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
    return Row(name, path, tilts, size, "", tuple(remarks))


def render_table(rows: Iterable[Row]) -> str:
    """Return the text of the tomogram table; tomograms that cannot be used are commented out."""
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        cells = (row.name, str(row.path), row.voxel_size, *row.tilt_range, "", "")
        if row.unusable:
            lines.append(f"# left out: {row.unusable}")
        lines.append(("# " if row.unusable else "") + "\t".join(cells))
    return TABLE_HEADING + "\n".join(lines) + "\n"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:LONGEST_NAME]
    return slug if NAME.fullmatch(slug) else "tomogram"


def _report(dataset: Path, rows: Sequence[Row]) -> str:
    usable = [row for row in rows if not row.unusable]
    tilts = sum(1 for row in usable if row.tilt_range != ("", ""))
    noun = "tomogram" if len(usable) == 1 else "tomograms"
    lines = [f"{len(usable)} {noun} in {one_line(str(dataset / 'config' / 'tomograms.tsv'))}"]
    lines[0] += f", {tilts} with the tilt range of a file beside them" if tilts else ""
    lines += [f"  left out: {row.unusable}" for row in rows if row.unusable]
    lines += [f"  {row.name}: {remark}" for row in usable for remark in row.remarks]
    lines += [
        "Next:",
        f"  cd {shlex.quote(str(dataset))}",
        "  look over config/tomograms.tsv (voxel sizes, tilts, contrast) and config/config.yaml (diameters, box)",
        f"  {_command('cryopipe')} check",
        f"  {_command('snakemake')} --cores all        on a cluster: --profile slurm",
    ]
    return "\n".join(lines)


def _command(name: str) -> str:
    """Return how to call a command of this environment: by its name if the shell finds it, else by its path."""
    own = Path(sys.executable).with_name(name)
    on_path = shutil.which(name)
    return name if on_path is not None and Path(on_path).resolve() == own.resolve() else shlex.quote(str(own))
