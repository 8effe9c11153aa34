"""Run one learner of a benchmark: every noise level and seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.box_sets import read_cut_boxes
from benchmarks.leaderboard import benchmark_phantoms, run_benchmark
from benchmarks.plan import read_plan
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    plan, options = read_plan(Path(job.input.plan)), job.params.options
    device = choose_device(options["device"])
    size_name = plan.size_name(options["size"], device.type)
    phantoms = benchmark_phantoms(plan, options["templates"])
    cut = read_cut_boxes(job.input.boxes[0], job.input.truth[0]) if plan.tomograms else None
    learners, maps = [job.wildcards.learner], options["templates"] is not None
    board = run_benchmark(plan, size_name, learners, phantoms, device, maps, cut, job.input.encoder)
    write_table(job.output.runs, board.table())


run(main, snakemake)
