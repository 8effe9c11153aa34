"""Place the averages in one tomogram: density, labels and a ChimeraX script."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import open_if_usable
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.reembedding import ReembeddingOptions, reembed_tomogram, write_placed_tomogram
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram, options = Tomogram(**job.params.tomogram), ReembeddingOptions(**job.params.reembedding)
    opened = open_if_usable(tomogram, read_table(job.input.check))
    particles = [read_particles(path, tomogram.name) for path in job.input.particles]
    averages = read_averages(job.input.averages, tables=False)
    placed = reembed_tomogram(tomogram, opened, averages, particles, options)
    out = job.output
    write_placed_tomogram(placed, out.density, out.labels, out.placements, out.artiax, out.script)


run(main, snakemake)
