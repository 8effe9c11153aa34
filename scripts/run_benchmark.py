"""Run one benchmark: all learners on the same simulated boxes, beside the published figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cryopipe.evaluation.benchmark_plan import plan_from_mapping
from cryopipe.evaluation.benchmark_tables import benchmark_section
from cryopipe.evaluation.hardware import describe_hardware
from cryopipe.evaluation.leaderboard import benchmark_phantoms, run_benchmark
from cryopipe.files.atomic import write_text
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    path, options = Path(job.input.plan), job.params.options
    plan = plan_from_mapping(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
    device = choose_device(job.params.device)
    automatic = "full" if device.type == "cuda" else "reduced"
    size_name = automatic if options["size"] == "auto" else options["size"]
    size = plan.sizes[size_name]
    templates = None if options["templates"] is None else Path(options["templates"])
    phantoms = benchmark_phantoms(plan, templates)
    learners = options["learners"] or list(plan.learners)
    board = run_benchmark(plan, size, learners, phantoms, device, templates is not None)
    classes = "procedural phantoms" if templates is None else "maps that stand in for the paper's structures"
    section = benchmark_section(plan, size_name, size, board, classes, describe_hardware(device))
    write_table(job.output.runs, board.runs)
    write_text(job.output.page, section)


run(main, snakemake)
