"""Write the report, the picture of all averages, and the summary that closes the run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.job import run
from cryopipe.report.report_files import write_report
from cryopipe.report.results import read_results
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomograms = [Tomogram(**row) for row in job.params.tomograms]
    given = job.input
    results = read_results(
        Path(), tomograms, bool(given.evaluation), bool(given.decoded), job.params.settings["curation"]
    )
    out = job.output
    write_report(
        results, job.params.settings, Path.cwd().name, out.page, out.averages, out.summary, out.methods
    )


run(main, snakemake)
