"""Measure DISCA's learning curve on one condition of a published table, and plot it for docs/learning.md."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.leaderboard import benchmark_phantoms
from benchmarks.learning_curve import curve_picture, learning_curve
from benchmarks.plan import read_plan
from cryopipe.files.atomic import atomic_path
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    plan, options = read_plan(Path(job.input.plan)), job.params.options
    device = choose_device(options["device"])
    phantoms, size = benchmark_phantoms(plan, options["templates"]), options["size"]
    size_name, maps = plan.size_name(size, device.type), options["templates"] is not None
    curve = learning_curve(plan, size_name, "disca_random", "SNR 0.1", phantoms, device, maps)
    write_table(job.output.curve, curve)
    with atomic_path(job.params.picture) as temporary:
        curve_picture(curve).save(temporary, "PNG")


run(main, snakemake)
