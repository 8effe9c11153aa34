"""The command `cryopipe view`: opens the report of a run."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cryopipe.errors import FileError

REPORT = Path("report") / "report.html"


def view(
    results: Annotated[
        Path, typer.Argument(help="A dataset's directory, its directory of results, or a report.")
    ] = Path("."),
) -> None:
    """Print the path of the report, and open it in the browser if there is a display."""
    report = find_report(results)
    typer.echo(report.resolve())
    if has_display():
        webbrowser.open(report.resolve().as_uri())


def find_report(place: Path) -> Path:
    """Return the report of a dataset's directory or of a directory of results, or `place` if it is a file.

    Raises
    ------
    FileError
        If there is no report.
    """
    candidates = (place, place / REPORT, place / "results" / REPORT)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise FileError(
            "contains no report", file=place, remedy="run `snakemake --cores all report` there first"
        )
    return found


def has_display() -> bool:
    """Return whether a window can be opened."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
