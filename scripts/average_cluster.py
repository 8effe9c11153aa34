"""Align and average the particles of one cluster."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_cluster, fsc_blocks, particle_table
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles, write_particles, write_star
from cryopipe.job import run
from cryopipe.particles import boxes_of_particles
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    stack = BoxStack(job.input.boxes)
    particles = read_particles(job.input.particles)
    particles = particles[particles[columns.CLASS] == int(job.wildcards.cluster)]
    options = AveragingOptions(**job.params.averaging).for_particles(particles[columns.DIAMETER].median())
    # Alignment starts from where learning found the particles' centres, and its shifts add to those.
    boxes, shifts = boxes_of_particles(stack, particles)
    result = align_cluster(
        boxes,
        boxes.tilt_ranges,
        stack.voxel_size,
        options,
        job.params.seed,
        choose_device(job.config["device"]),
    )
    write_volume(job.output.average, result.average, stack.voxel_size)
    for path, half_map in zip((job.output.half1, job.output.half2), result.half_maps, strict=True):
        write_volume(path, half_map, stack.voxel_size)
    write_star(job.output.fsc, fsc_blocks(result, options.symmetry))
    write_particles(job.output.particles, particle_table(particles, result, shifts))


run(main, snakemake)
