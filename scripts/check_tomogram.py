"""Check one tomogram; if it cannot be used, report the reason in one line."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import check_tomogram, checks_table, report_findings
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    check = check_tomogram(Tomogram(**job.params.tomogram), job.params.twins, job.params.siblings)
    # The configuration is not a parameter of the rule, so that a change does not repeat all checks.
    report_findings(check, job.config)
    write_table(job.output[0], checks_table([check]))


run(main, snakemake)
