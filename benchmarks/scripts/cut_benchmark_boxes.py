"""Simulate a benchmark's tomograms and cut boxes about the displaced true centres of their particles."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.box_sets import cut_boxes
from benchmarks.leaderboard import benchmark_phantoms
from benchmarks.plan import plan_from_mapping
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    path = Path(job.input.plan)
    plan = plan_from_mapping(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
    phantoms, options = benchmark_phantoms(plan, job.params.templates), plan.tomogram_options()
    box_size, tilts = plan.sizes["reduced"].box_size, (options.tilt_range[0], options.tilt_range[1])
    with BoxWriter(job.output.boxes, box_size, options.voxel_size, tilts, plan.name) as writer:
        truth = cut_boxes(plan, phantoms, writer, choose_device(job.params.device))
    write_table(job.output.truth, truth)


run(main, snakemake)
