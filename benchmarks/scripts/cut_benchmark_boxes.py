"""Simulate the tomograms of a benchmark and cut boxes around the displaced true centres of their particles."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.box_sets import cut_boxes
from benchmarks.leaderboard import benchmark_phantoms
from benchmarks.plan import read_plan
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    plan = read_plan(Path(job.input.plan))
    phantoms, options = benchmark_phantoms(plan, job.params.templates), plan.tomogram_options()
    box_size, tilts = plan.sizes["reduced"].box_size, (options.tilt_range[0], options.tilt_range[1])
    with BoxWriter(job.output.boxes, box_size, options.voxel_size, tilts, plan.name) as writer:
        truth = cut_boxes(plan, phantoms, writer, choose_device(job.params.device))
    write_table(job.output.truth, truth)


run(main, snakemake)
