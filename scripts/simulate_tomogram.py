"""Simulate one tomogram of the demo, with its truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.job import run
from cryopipe.simulation import SimulationOptions, seed_for, simulate_tomogram, write_tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    name = job.wildcards.tomogram
    simulated = simulate_tomogram(
        SimulationOptions(**job.params.simulation),
        seed_for(job.params.seed, name),
        name,
        choose_device(job.config["device"]),
    )
    maps = Path(job.output.volume).parent / "maps"
    write_tomogram(simulated, job.output.volume, job.output.truth, job.output.labels, maps)


run(main, snakemake)
