"""Compare the neighbours of the classes with shuffled positions in the same volumes."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.averaging.doubles import gather_tables
from cryopipe.evidence.relation_options import RelationOptions
from cryopipe.evidence.run_neighbourhood import neighbourhood_of_run
from cryopipe.evidence.specimen import read_specimens
from cryopipe.files.star import read_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = RelationOptions(**job.params.relations)
    aligned = gather_tables([read_particles(path) for path in job.input.aligned])
    used = set(aligned.get(columns.TOMOGRAM, ()))
    tomograms = [Tomogram(**row) for row in job.params.tomograms if row["name"] in used]
    specimens = read_specimens(tomograms, options.membranes)
    neighbours, distances = neighbourhood_of_run(aligned, specimens, options.reach, job.params.seed)
    write_table(job.output.neighbourhood, neighbours)
    write_table(job.output.distances, distances)


run(main, snakemake)
