"""Find the centres of one cluster's particles by a first alignment."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, locate_particles
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.star import read_particles, write_particles
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    boxes, options = BoxStack(job.input.boxes), AveragingOptions(**job.params.averaging)
    particles = read_particles(job.input.particles)
    mine = particles[particles[columns.CLASS] == int(job.wildcards.cluster)]
    device = choose_device(job.config["device"])
    write_particles(job.output[0], locate_particles(boxes, mine, options, job.params.seed, device))


run(main, snakemake)
