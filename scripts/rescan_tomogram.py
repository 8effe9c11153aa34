"""Search one tomogram with the averages that are particles, and merge what is found with its picks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.check import open_if_usable
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.rescan.options import RescanOptions
from cryopipe.rescan.rescanned_tomogram import averages_of_particles, rescan_tomogram
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram, checkpoint = Tomogram(**job.params.tomogram), Path(job.params.checkpoint)
    verdicts = read_table(job.input.verdicts[0], text_columns=("verdict", "reason"))
    found = rescan_tomogram(
        tomogram,
        open_if_usable(tomogram, read_table(job.input.check)),
        averages_of_particles(read_averages(job.input.averages), verdicts),
        read_particles(job.input.picks),
        read_particles(job.input.located[0], tomogram.name),
        RescanOptions(**job.params.rescan),
        clip=job.params.pick["clip"],
        memory_gb=job.config["memory_gb"],
        device=choose_device(job.config["device"]),
        checkpoint=checkpoint,
    )
    write_particles(job.output[0], found)
    checkpoint.unlink(missing_ok=True)


run(main, snakemake)
