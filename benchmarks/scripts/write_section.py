"""Write the section of one benchmark: all learners, compared with the published figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.leaderboard import joined
from benchmarks.plan import read_plan
from benchmarks.result_tables import benchmark_section
from cryopipe.files.atomic import write_text
from cryopipe.files.tables import read_table
from cryopipe.job import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    plan, board = read_plan(Path(job.input.plan)), joined([read_table(path) for path in job.input.runs])
    write_text(job.output.page, benchmark_section(plan, board))


run(main, snakemake)
