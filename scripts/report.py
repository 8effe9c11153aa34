"""Draw the report, the picture of all averages, and the summary that closes the run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from PIL import Image

from cryopipe.files.atomic import atomic_path, write_text
from cryopipe.job import run
from cryopipe.report.content import page_content
from cryopipe.report.options import ReportOptions
from cryopipe.report.page import render_page
from cryopipe.report.results import read_results
from cryopipe.report.sheet import contact_sheet
from cryopipe.report.summary import summary_text
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomograms = [Tomogram(**row) for row in job.params.tomograms]
    results = read_results(Path(), tomograms, bool(job.input.evaluation))
    settings = dict(job.params.settings)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    options = ReportOptions(**settings["report"])
    content = page_content(results, options, text, Path.cwd().name, settings["seed"])
    write_text(job.output.page, render_page(content))
    with atomic_path(job.output.averages) as temporary:
        Image.fromarray(contact_sheet(results.averages)).save(temporary)
    write_text(job.output.summary, summary_text(results, job.output.page))


run(main, snakemake)
