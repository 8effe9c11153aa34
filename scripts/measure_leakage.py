"""Measure how well tomogram, depth, defocus, distances and orientation predict the classes."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.averaging.doubles import gather_tables
from cryopipe.evidence.relation_options import RelationOptions
from cryopipe.evidence.run_leakage import leakage_of_run
from cryopipe.evidence.specimen import read_specimens
from cryopipe.files.star import read_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = RelationOptions(**job.params.relations)
    particles = read_particles(job.input.particles)
    aligned = gather_tables([read_particles(path) for path in job.input.aligned])
    used = set(particles.get(columns.TOMOGRAM, ()))
    tomograms = [Tomogram(**row) for row in job.params.tomograms if row["name"] in used]
    specimens = read_specimens(tomograms, options.membranes)
    write_table(job.output[0], leakage_of_run(particles, aligned, specimens, job.params.seed))


run(main, snakemake)
