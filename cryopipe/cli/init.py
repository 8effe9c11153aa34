"""The command `cryopipe init`: setup of a dataset directory for the user's tomograms."""

from __future__ import annotations

import datetime
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe.cli.reading_report import reading_report
from cryopipe.cli.rows import Row, add_rows, named, one_per_series, render_table
from cryopipe.cli.sources import Sources, differences, project_settings, read_sources, with_contrasts
from cryopipe.config import read_config
from cryopipe.config.option_pages import render_config
from cryopipe.errors import ConfigError, FileError, TableError, one_line
from cryopipe.files.atomic import atomic_path, write_text
from cryopipe.installation import ROOT
from cryopipe.tomograms import CONTRASTS, Tomogram, read_tomogram_table
from cryopipe.volume_names import read_volume_name

CONFIG_HEADING = """cryopipe: every option with its default. Edit what you need; a missing line takes its default.
Two matter most: the particles' diameters (pick) and the box (subtomograms)."""
SNAKEFILE = """# cryopipe on the tomograms of config/tomograms.tsv. Run `snakemake --cores all` in this directory, or
# `snakemake --profile slurm` on a cluster.
import sys

try:
    from cryopipe.config import check_or_exit
    from cryopipe.installation import SNAKEFILE
except ModuleNotFoundError as error:
    sys.exit(f"Error: {sys.executable} has no {error.name}; activate the environment in which cryopipe is installed")
check_or_exit(*(workflow.overwrite_configfiles or ["config/config.yaml"]))


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


REPLACED = "replaced"
"""Folder of a dataset for the copies of files that `--force` replaces."""


def init(
    dataset: Annotated[Path, typer.Argument(help="Directory to set up; created if missing.")],
    tomograms: Annotated[
        list[Path],
        typer.Argument(
            help="MRC files, directories of them, or projects: RELION's tomograms.star or project directory, Warp's "
            ".settings or directory of .xml files, directories of IMOD's etomo, output directory of AreTomo, a Copick "
            "project, a dataset of the CryoET Data Portal, OME-Zarr volumes."
        ),
    ],
    contrast: Annotated[
        str | None,
        typer.Option(
            help="dark or bright: contrast of the particles in these tomograms; default: that of the program, dark."
        ),
    ] = None,
    voxel_size: Annotated[
        float | None, typer.Option(help="Angstrom; for tomograms whose header does not state it.")
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add tomograms to the table of a dataset; nothing else is changed.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace all files; a dated copy of changed files is kept."),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Add every volume, including halves of the data, other binnings and stacks."
        ),
    ] = False,
    denoised: Annotated[
        bool, typer.Option("--denoised", help="Use the denoised volume of each tilt series, if there is one.")
    ] = False,
) -> None:
    """Set up a dataset directory: table of tomograms, configuration, Snakefile and Slurm profile.

    Names, tilts, pixel sizes and the microscope's properties are read from the project, and the export is set for it;
    what was read from which file, and what is assumed, is printed. For single MRC files, tilts are read from a .tlt,
    .rawtlt, .aln, .xml or .mdoc file in their directory. One volume of each tilt series is used; the others are
    printed. The files themselves are neither copied nor changed.
    """
    if dataset.exists() and not dataset.is_dir():
        raise FileError("is a file", file=dataset, remedy="name the directory to set up before the tomograms")
    if contrast not in (None, *CONTRASTS):
        raise TableError(f"contrast {contrast!r}", remedy="give dark or bright")
    if voxel_size is not None and not 0.1 <= voxel_size <= 1000:
        raise TableError(f"voxel size {voxel_size:g}", remedy="give angstrom, 0.1 to 1000")
    if add and force:
        raise TableError("--add and --force exclude each other", remedy="give one of them")
    sources = read_sources(tomograms, voxel_size, everything, denoised)
    if add:
        _add(dataset, sources, contrast, everything)
        return
    rows = named(_one_per_series(sources, {}, everything))
    if all(row.unusable for row in rows):
        problems = [row.unusable for row in rows] or [
            f"{sources.left_out[0]}; give --all to take it all the same"
        ]
        raise FileError(" | ".join(dict.fromkeys(problems)))
    settings, assumed = project_settings(sources.projects)
    settings["imaging"] = {
        "contrast": "dark",
        **settings["imaging"],
        **({"contrast": contrast} if contrast else {}),
    }
    rows = with_contrasts(rows, settings["imaging"]["contrast"], contrast)
    table = dataset / "config" / "tomograms.tsv"
    kept = _write_files(dataset, {table: render_table(rows), **_other_files(dataset, settings)}, force)
    report = reading_report(rows, sources.projects, settings, assumed, contrast is not None)
    typer.echo(
        "\n".join([*_summary(rows, sources.left_out, f"in {table}"), *report, *kept, *_next_steps(dataset)])
    )


def add_tomograms(dataset: Path, paths: Sequence[Path]) -> None:
    """Add tomograms to the table of a dataset, as `cryopipe init DATASET PATHS --add` does."""
    _add(dataset, read_sources(paths, None, False, False), None, False)


def _one_per_series(sources: Sources, present: Mapping[tuple[str, str], str], everything: bool) -> list[Row]:
    """Return the rows with one volume per tilt series; those of projects are chosen already."""
    if everything:
        return sources.rows
    loose = [row for row, is_loose in zip(sources.rows, sources.loose, strict=True) if is_loose]
    kept, others = one_per_series(loose, present)
    sources.left_out += others
    paths = {row.path for row in kept}
    return [
        row
        for row, is_loose in zip(sources.rows, sources.loose, strict=True)
        if not is_loose or row.path in paths
    ]


def _add(dataset: Path, sources: Sources, contrast: str | None, everything: bool) -> None:
    """Add tomograms to the table of a dataset; existing lines, their order and comments do not change."""
    try:
        options = read_config(dataset / "config" / "config.yaml")
    except ConfigError as error:
        if (dataset / "config" / "config.yaml").exists():
            raise
        raise FileError(
            "has no config/config.yaml", file=dataset, remedy="run `cryopipe init` without --add"
        ) from error
    path, usual = dataset / options["tomograms"], options["imaging"]
    present = read_tomogram_table(path, tuple(usual["tilt_range"]), usual["contrast"])
    text = path.read_bytes().decode("utf-8")
    new, known = _without_known(dataset, [row.path for row in sources.rows], present, text)
    sources.left_out += known
    kept = [row.path in new for row in sources.rows]
    sources.loose = [loose for loose, keep in zip(sources.loose, kept, strict=True) if keep]
    sources.rows = [row for row, keep in zip(sources.rows, kept, strict=True) if keep]
    series = {read_volume_name(_place(dataset, tomogram)).key: name for name, tomogram in present.items()}
    rows = _one_per_series(sources, series, everything)
    rows = named(rows, present, [one.exported_name or one.name for one in present.values()])
    rows = with_contrasts(rows, usual["contrast"], contrast)
    if rows:
        write_text(path, add_rows(text, rows))
    remarks = differences(sources.projects, options) if rows else []
    lines = _summary(rows, sources.left_out, f"added to {path}")
    typer.echo("\n".join([*lines, *(f"  {remark}" for remark in remarks)]))


def _without_known(
    dataset: Path, paths: Sequence[Path], present: Mapping[str, Tomogram], table: str
) -> tuple[list[Path], list[str]]:
    """Return the files that are not in the table, and those that are, or are commented out, with the reason."""
    listed = {_place(dataset, tomogram).resolve(): name for name, tomogram in present.items()}
    commented = {
        cell.strip()
        for line in re.split(r"\r\n?|\n", table)
        if line.startswith("#")
        for cell in line.split("\t")
    }
    new, left_out = [], []
    for path in paths:
        if path.resolve() in listed:
            left_out.append(f"{path}: in the table as {listed[path.resolve()]}")
        elif str(path) in commented:
            left_out.append(f"{path}: its line in the table is commented out")
        else:
            new.append(path)
    return new, left_out


def _place(dataset: Path, tomogram: Tomogram) -> Path:
    """Return the path of a tomogram's file; relative paths are relative to the dataset."""
    return dataset.absolute() / tomogram.path


def _other_files(dataset: Path, settings: Mapping[str, Any]) -> dict[Path, str]:
    """Return the texts of a dataset's files except the table."""
    files = {
        dataset / "config" / "config.yaml": render_config(CONFIG_HEADING, settings),
        dataset / "Snakefile": SNAKEFILE,
    }
    for profile in sorted((ROOT / "workflow" / "profiles" / "slurm").iterdir()):
        files[dataset / "slurm" / profile.name] = profile.read_text(encoding="utf-8")
    return files


def _write_files(dataset: Path, files: Mapping[Path, str], force: bool) -> list[str]:
    """Write a dataset's files after copying those that are replaced; return a message about the copies."""
    existing = [path for path in files if os.path.lexists(path)]
    if existing and not force:
        remedy = (
            "give --add to add tomograms, --force to replace them (copies are kept), or another directory"
        )
        raise FileError("would be overwritten", file=", ".join(map(str, existing)), remedy=remedy)
    folders = [path for path in existing if path.is_dir()]
    if folders:
        raise FileError(
            "is a directory", file=folders[0], remedy="remove it or choose another dataset directory"
        )
    edited = [
        path for path in existing if not path.is_file() or path.read_bytes() != files[path].encode("utf-8")
    ]
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = dataset / REPLACED / stamp, 2
    while folder.exists():
        folder, number = dataset / REPLACED / f"{stamp}_{number}", number + 1
    for path in edited:
        copy = folder / path.relative_to(dataset)
        with atomic_path(copy) if path.exists() else nullcontext(copy) as place:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place, follow_symlinks=path.exists())
    for path, text in files.items():
        if path in edited or path not in existing:
            write_text(path, text)
    return [f"Replaced files are kept in {one_line(str(folder))}"] if edited else []


def _summary(rows: Sequence[Row], left_out: Sequence[str], where: str) -> list[str]:
    usable = [row for row in rows if not row.unusable]
    tilts = sum(1 for row in usable if row.series.tilt_range is not None)
    lines = [f"{len(usable)} {'tomogram' if len(usable) == 1 else 'tomograms'} {one_line(where)}"]
    lines[0] += f", {tilts} with a tilt range from a file" if tilts else ""
    lines += [
        f"  left out: {one_line(reason)}" for reason in (*left_out, *(r.unusable for r in rows if r.unusable))
    ]
    return lines + [f"  {row.name}: {remark}" for row in usable for remark in row.remarks]


def _next_steps(dataset: Path) -> list[str]:
    return [
        "Next:",
        f"  cd {shlex.quote(str(dataset))}",
        "  review config/tomograms.tsv (voxel sizes, tilts, contrast) and config/config.yaml (diameters, box)",
        f"  {_command('cryopipe')} check",
        f"  {_command('snakemake')} --cores all        on a cluster: --profile slurm",
    ]


def _command(name: str) -> str:
    """Return the name of a command of this environment if the shell finds it, otherwise its path."""
    own = Path(sys.executable).with_name(name)
    on_path = shutil.which(name)
    return name if on_path is not None and Path(on_path).resolve() == own.resolve() else shlex.quote(str(own))
