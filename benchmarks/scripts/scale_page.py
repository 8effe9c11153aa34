"""Write time and memory of the jobs into docs/scale.md, with a plot of the memory."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cost_tables import HEADING, scale_section
from benchmarks.memory_picture import memory_picture
from benchmarks.pages import rewrite_page
from cryopipe.files.atomic import atomic_path
from cryopipe.files.tables import read_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tables = {Path(path).stem: read_table(path) for path in job.input}
    section = job.params.section
    if section == "bounds":
        with atomic_path(job.params.picture) as temporary:
            memory_picture(tables).save(temporary, "PNG")
    rewrite_page(job.params.page, {section: scale_section(section, tables)}, HEADING, keep_heading=True)


run(main, snakemake)
