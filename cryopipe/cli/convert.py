"""The command `cryopipe convert`: particle lists from any format to any other."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe.config import read_config
from cryopipe.errors import ConfigError
from cryopipe.export import export_context
from cryopipe.export.conversion import convert_particles, report
from cryopipe.export.writer import Conventions, ExportContext, under_exported_records
from cryopipe.particle_formats import FORMATS
from cryopipe.tomograms import Tomogram, read_tomogram_table

NAMES = ", ".join(FORMATS)
CONFIG = Path("config/config.yaml")


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File of particles, or folder of such files.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the files; made if missing.")],
    to: Annotated[str, typer.Option("--to", help=f"Format to write: {NAMES}.")],
    from_: Annotated[str, typer.Option("--from", help="Format of IN; recognised if not given.")] = "",
    tomograms: Annotated[
        list[Path] | None,
        typer.Option(help="Tomogram table, or MRC file of a tomogram; repeatable. Without: the dataset's."),
    ] = None,
    config: Annotated[
        Path, typer.Option(help="The dataset's configuration, if there is one, for table and export options.")
    ] = CONFIG,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size of IN's coordinates, in angstrom, if not the tomograms'.")
    ] = None,
    first_voxel: Annotated[
        float | None, typer.Option(help="IN's coordinate of the first voxel's centre: 0, 0.5 or 1.")
    ] = None,
    inverse_angles: Annotated[
        bool, typer.Option("--inverse-angles", help="IN's angles rotate the particle to the reference.")
    ] = False,
    tilt_series_pixel_size: Annotated[
        float | None,
        typer.Option(help="Pixel size of the tilt series, in angstrom, for relion4, relion5, eman2."),
    ] = None,
    binned_by: Annotated[
        str, typer.Option(help="Method of binning of the tomograms: fourier or averaging.")
    ] = "",
    relion_tomograms: Annotated[
        str, typer.Option(help="tomograms.star of the RELION 4 or 5 project of IN and OUT.")
    ] = "",
) -> None:
    """Convert particles of one program to another, check them against the tomograms, and read every file back."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for name in (to, from_):
        if name and name not in FORMATS:
            raise ConfigError(f"{name!r} is not a format", remedy=f"give one of {NAMES}")
    given: dict[str, Any] = {"tilt_series_pixel_size": tilt_series_pixel_size}
    given["subtomograms"] = False  # boxes are cut in a run only
    given |= {"binned_by": binned_by or None, "relion_tomograms": relion_tomograms or None}
    context = _context(tomograms, config, {name: value for name, value in given.items() if value is not None})
    stated = Conventions(first_voxel, pixel_size, inverse_angles)
    context = under_exported_records(replace(context, conventions=stated))
    typer.echo(report(convert_particles(source, folder, (from_, to), context), context, to))


def _context(tomograms: list[Path] | None, config: Path, given: dict[str, Any]) -> ExportContext:
    """Return the tomograms and options of the dataset and the command line; the command line has precedence."""
    sections: dict[str, Any] = {}
    rows: list[Tomogram] = []
    if config.is_file():
        sections = read_config(config)
    elif tomograms is None:
        raise ConfigError(
            "no such file, and no tomograms are given",
            file=config,
            remedy="run this command in the dataset's directory, or give --tomograms",
        )
    imaging = sections.get("imaging", {"tilt_range": (-60.0, 60.0), "contrast": "dark"})
    low, high = imaging["tilt_range"]
    for path in tomograms if tomograms is not None else [Path(sections["tomograms"])]:
        if path.suffix in (".mrc", ".rec", ".map"):
            name = path.stem.removeprefix("rec_")
            rows.append(Tomogram(name, str(path), None, (low, high), imaging["contrast"]))
        else:
            rows += read_tomogram_table(path, (low, high), imaging["contrast"]).values()
    sections["export"] = {**sections.get("export", {}), **given}
    return export_context(rows, {}, sections)
