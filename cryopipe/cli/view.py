"""The command `cryopipe view`: opens a tomogram of a run in napari, or the report."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe.config import read_config
from cryopipe.errors import FileError, TableError
from cryopipe.export.napari_layers import napari_layers, show_layers
from cryopipe.files.mrc import open_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import read_particles
from cryopipe.live.progress_page import PAGE, later_tomograms
from cryopipe.tomograms import Tomogram, read_tomogram_table

REPORT = Path("report") / "report.html"
PROGRESS = Path("report") / "progress.html"
CONFIG = Path("config") / "config.yaml"
PARTICLES = (Path("averages") / "particles.star", Path("clusters") / "particles.star")
"""Tables with clusters, the best first."""


def view(
    results: Annotated[
        Path, typer.Argument(help="A dataset's directory, its directory of results, or a report.")
    ] = Path("."),
    tomogram: Annotated[
        str | None, typer.Option(help="Tomogram to open in napari; default: the first one with picks.")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Open the report, even if napari is installed.")
    ] = False,
) -> None:
    """Open a tomogram with its picks, clusters and placed averages in napari, or the report if napari is not installed.

    Without a display, the path of the report is printed. While a run goes on and has no report yet, its progress page is
    opened. napari is installed by `pip install "cryopipe[napari]"`.
    """
    dataset = find_dataset(results)
    napari = None if page or dataset is None or not has_display() else find_napari()
    if napari is not None and dataset is not None and (dataset / "results" / "picks").is_dir():
        layers = layers_of_dataset(dataset, tomogram)
        typer.echo(f"{layers[0].options['name']}: {', '.join(layer.options['name'] for layer in layers[1:])}")
        show_layers(napari, layers, f"{layers[0].options['name']} (cryopipe)")
        return
    if tomogram is not None:
        reason = "there is no display" if not has_display() else "napari is not installed"
        typer.echo(f"{reason}: the report shows the sections of {tomogram}", err=True)
    report = find_report(results)
    typer.echo(report.resolve())
    if dataset is not None and report.name == REPORT.name and (later := later_tomograms(dataset)):
        typer.echo(
            f"without {later} tomogram{'s' * (later > 1)} that arrived later: see {dataset / PAGE}, "
            "or run `cryopipe watch --anew`",
            err=True,
        )
    if has_display():
        webbrowser.open(report.resolve().as_uri())


def find_report(place: Path) -> Path:
    """Return the report of a dataset's directory or of a directory of results, or `place` if it is a file.

    If there is no report, the page about a run that goes on is returned.

    Raises
    ------
    FileError
        If there is neither.
    """
    candidates = [place] + [
        folder / page for page in (REPORT, PROGRESS) for folder in (place, place / "results")
    ]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise FileError(
            "contains no report", file=place, remedy="run `snakemake --cores all report` there first"
        )
    return found


def find_dataset(place: Path) -> Path | None:
    """Return the dataset of a directory, of a directory of results, or of a report; None if there is none."""
    path = place.absolute()
    return next((folder for folder in (path, *path.parents[:3]) if (folder / CONFIG).is_file()), None)


def layers_of_dataset(dataset: Path, name: str | None) -> list[Any]:
    """Return napari's layers of a tomogram of a dataset, as far as its run has come.

    Raises
    ------
    TableError
        If there is no such tomogram, or no tomogram has picks.
    """
    options = read_config(dataset / CONFIG)
    low, high = options["imaging"]["tilt_range"]
    rows = read_tomogram_table(dataset / options["tomograms"], (low, high), options["imaging"]["contrast"])
    results = dataset / "results"
    picked = [row for row in rows if (results / "picks" / f"{row}.star").is_file()]
    chosen = name or next(iter(picked), None)
    if chosen not in picked:
        problem = "no tomogram has picks" if name is None else f"tomogram {name!r} has no picks"
        known = f"give one of {', '.join(picked[:10])}" if picked else "run snakemake in the dataset first"
        raise TableError(problem, file=dataset / options["tomograms"], remedy=known)
    row = rows[str(chosen)]
    opened = open_tomogram(Tomogram(**{**vars(row), "path": str(dataset / row.path), "mask": None}))
    picks = read_particles(results / "picks" / f"{row.name}.star", row.name)
    table = next((results / path for path in PARTICLES if (results / path).is_file()), None)
    particles = None if table is None else read_particles(table, row.name)
    labels = results / "reembedded" / f"{row.name}_labels.mrc"
    placed = open_volume(labels) if labels.is_file() else None
    fits = placed is not None and placed.shape == opened.volume.shape
    return napari_layers(
        row.name, opened.volume, opened.voxel_size, picks, particles, placed if fits else None
    )


def find_napari() -> Any:
    """Return the module napari; None if it is not installed."""
    return importlib.import_module("napari") if importlib.util.find_spec("napari") else None


def has_display() -> bool:
    """Return whether a window can be opened."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
