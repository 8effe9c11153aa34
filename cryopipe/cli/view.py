"""`cryopipe view`: open a run's report."""

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
    """Print where the report is and open it in the browser, where there is a display."""
    report = find_report(results)
    typer.echo(report.resolve())
    if has_display():
        webbrowser.open(report.resolve().as_uri())


def find_report(place: Path) -> Path:
    """Return the report of a dataset's directory, of a directory of results, or the file itself.

    Raises
    ------
    FileError
        If there is none.
    """
    candidates = (place, place / REPORT, place / "results" / REPORT)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise FileError(
            "holds no report", file=place, remedy="run `snakemake --cores all report` there first"
        )
    return found


def has_display() -> bool:
    """Tell whether a window can be opened here."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
