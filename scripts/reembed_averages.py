"""Place the averages in one tomogram: density, labels and a ChimeraX script."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe import columns
from cryopipe.check import is_usable
from cryopipe.files.chimerax import Cluster, write_chimerax_script
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.reembedding import ReembeddingOptions, artiax_table, choose_particles, make_templates, reembed
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram, options = Tomogram(**job.params.tomogram), ReembeddingOptions(**job.params.reembedding)
    shown = tomogram.path
    if not is_usable(read_table(job.input.check)):
        shown = job.output.density  # the name itself may be unusable in ChimeraX
        logging.warning("%s cannot be used, see %s: its volumes are empty", tomogram.name, job.input.check)
        shape, voxel_size = (1, 1, 1), tomogram.voxel_size or 1.0
    else:
        opened = open_tomogram(tomogram)
        shape, voxel_size = opened.volume.shape, opened.voxel_size
    tables = [read_particles(path, tomogram.name) for path in job.input.particles]
    chosen = choose_particles(tables, tomogram.name, options)
    averages = read_averages(job.input.averages, tables=False)
    templates = make_templates(averages, set(chosen[columns.CLASS]), voxel_size, options)
    placed = reembed(shape, templates, chosen, f"re-embedding {tomogram.name}")
    write_volume(job.output.density, placed.density, voxel_size)
    write_volume(job.output.labels, placed.labels, voxel_size)
    write_table(job.output.placements, placed.placements)
    write_particles(job.output.artiax, artiax_table(chosen, {tomogram.name: 1}))
    numbers, counts = np.unique(placed.placements["cluster"], return_counts=True)
    write_chimerax_script(
        job.output.script,
        shown,
        job.output.density,
        job.output.labels,
        voxel_size,
        min((template.level for template in templates.values()), default=options.sigma),
        [Cluster(int(number), int(count)) for number, count in zip(numbers, counts, strict=True)],
    )


run(main, snakemake)
