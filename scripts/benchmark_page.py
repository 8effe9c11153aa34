"""Write a benchmark's results into its section of docs/benchmarks.md."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.evaluation.benchmark_tables import update_page
from cryopipe.files.atomic import write_text
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    section, page = Path(job.input[0]), Path(job.params.page)
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    text = section.read_text(encoding="utf-8")
    write_text(page, update_page(old, {section.stem: text}))
    logging.info("%s\nwritten into %s", text, page)


run(main, snakemake)
