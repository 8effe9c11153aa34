"""The report of a run as files: page, contact sheet of the averages, summary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from cryopipe.config import defaults
from cryopipe.files.atomic import atomic_path, write_text
from cryopipe.files.run_record import read_run_record
from cryopipe.provenance import RUN_RECORD
from cryopipe.report.content import page_content
from cryopipe.report.methods import methods_page
from cryopipe.report.options import ReportOptions
from cryopipe.report.page import render_page
from cryopipe.report.results import RunResults
from cryopipe.report.sheet import contact_sheet
from cryopipe.report.summary import summary_text


def write_report(
    results: RunResults,
    settings: Mapping[str, Any],
    dataset: str,
    page: str | os.PathLike[str],
    averages: str | os.PathLike[str],
    summary: str | os.PathLike[str],
    methods: str | os.PathLike[str],
) -> None:
    """Write the report of a run; each file is written whole or not at all.

    Parameters
    ----------
    results
        See `read_results`.
    settings
        The complete configuration, with the section `report` and the `seed`.
    dataset
        Name of the data set, for the title.
    page
        HTML file.
    averages
        Picture of all averages; the suffix names its format.
    summary
        Text file; it refers to `page`.
    methods
        Text file with a paragraph for the methods of a paper and its references as BibTeX.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    options = ReportOptions(**settings["report"])
    made = methods_page(results, settings, defaults(), read_run_record(RUN_RECORD), Path.cwd())
    content = page_content(results, options, text, dataset, settings["seed"]) | {"made": made}
    write_text(methods, f"{made['paragraph']}\n\n{made['references']}")
    write_text(page, render_page(content))
    with atomic_path(averages) as temporary:
        Image.fromarray(contact_sheet(results.averages)).save(temporary)
    write_text(summary, summary_text(results, os.fspath(page)))
