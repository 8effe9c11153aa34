"""Cut, rescale and normalise the boxes of one tomogram's particles."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe.columns import COORDINATES, PARTICLE
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import read_particles, write_particles
from cryopipe.job import run
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram, options = Tomogram(**job.params.tomogram), SubtomogramOptions(**job.params.subtomograms)
    particles = read_particles(job.input.particles)
    kept: list[int] = []
    with BoxWriter(
        job.output.boxes, options.box_size, options.voxel_size, tomogram.tilt_range, tomogram.name
    ) as writer:
        if len(particles):
            opened = open_tomogram(tomogram)
            for indices, boxes in extract_subtomograms(
                opened.volume,
                particles[list(COORDINATES)].to_numpy(dtype=float),
                opened.voxel_size,
                options,
                tomogram.contrast,
                np.random.default_rng(job.params.seed),
                device=choose_device(job.config["device"]),
                name=tomogram.name,
            ):
                writer.append(boxes, particles[PARTICLE].iloc[indices].tolist())
                kept.extend(indices.tolist())
    write_particles(job.output.particles, particles.iloc[kept])


run(main, snakemake)
