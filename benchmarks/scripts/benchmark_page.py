"""Write the results of benchmarks into their sections of docs/benchmarks.md."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pages import rewrite_page
from benchmarks.result_tables import PAGE_HEADING
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    page = Path(job.params.page)
    sections = {Path(path).stem: Path(path).read_text(encoding="utf-8") for path in job.input}
    rewrite_page(page, sections, PAGE_HEADING)
    logging.info("%s\nwritten into %s", "\n".join(sections.values()), page)


run(main, snakemake)
