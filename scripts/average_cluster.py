"""Align and average the particles of one cluster."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_cluster, fsc_blocks, particle_table
from cryopipe.boxes import ChosenBoxes, ShiftedBoxes
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles, write_particles, write_star
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    stack = BoxStack(job.input.boxes)
    particles = read_particles(job.input.particles)
    particles = particles[particles[columns.CLASS] == int(job.wildcards.cluster)]
    place = {name: i for i, name in enumerate(stack.names)}
    rows = np.array([place[name] for name in particles[columns.PARTICLE]])
    options = AveragingOptions(**job.params.averaging).for_particles(particles[columns.DIAMETER].median())
    # Alignment starts from where learning found the particles' centres, and its shifts add to those.
    origins = particles[list(columns.ORIGINS)].to_numpy() if columns.ORIGINS[0] in particles else 0.0
    shifts = np.zeros((len(stack), 3), np.int64)
    shifts[rows] = np.rint(-origins / stack.voxel_size)
    boxes = ChosenBoxes(ShiftedBoxes(stack, shifts), rows)
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
    write_particles(job.output.particles, particle_table(particles, result, shifts[rows]))


run(main, snakemake)
