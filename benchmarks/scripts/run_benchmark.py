"""Run one benchmark: all learners on the same simulated boxes, compared with the published figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.box_sets import read_cut_boxes
from benchmarks.hardware import describe_hardware
from benchmarks.leaderboard import benchmark_phantoms, run_benchmark
from benchmarks.plan import read_plan
from benchmarks.result_tables import benchmark_section
from cryopipe.files.atomic import write_text
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    plan, options = read_plan(Path(job.input.plan)), job.params.options
    device = choose_device(job.params.device)
    size_name = plan.size_name(options["size"], device.type)
    phantoms = benchmark_phantoms(plan, options["templates"])
    cut = read_cut_boxes(job.input.boxes[0], job.input.truth[0]) if plan.tomograms else None
    learners, maps = options["learners"] or list(plan.learners), options["templates"] is not None
    board = run_benchmark(plan, size_name, learners, phantoms, device, maps, cut, job.input.encoder)
    write_table(job.output.runs, board.runs)
    write_text(job.output.page, benchmark_section(plan, board, describe_hardware(device)))


run(main, snakemake)
