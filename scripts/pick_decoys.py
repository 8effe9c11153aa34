"""Pick decoys in one tomogram, and cut their boxes like those of particles."""

from typing import TYPE_CHECKING, Any

from cryopipe.check import open_if_usable
from cryopipe.evidence.decoy_boxes import decoys_of_tomogram, write_decoys
from cryopipe.evidence.options import EvidenceOptions
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table
from cryopipe.job import run
from cryopipe.picking import PickOptions
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    given, tomogram, device = job.params, Tomogram(**job.params.tomogram), choose_device(job.config["device"])
    opened = open_if_usable(tomogram, read_table(job.input.check))
    options = EvidenceOptions(decoys=True, **given.evidence)
    particles = read_particles(job.input.particles)
    sets = decoys_of_tomogram(
        tomogram, opened, particles, PickOptions(**given.pick), options, given.seed, device, given.fewest
    )
    sizes = (SubtomogramOptions(**given.subtomograms), SubtomogramOptions(**given.averaged))
    paths, scale = (job.output.boxes, job.output.averaging), 1.0 if opened is None else opened.voxel_size
    table = write_decoys(
        paths, tomogram, scale, sets, sizes, given.averaging["ctf"], given.imaging, given.seed, device
    )
    write_particles(job.output.decoys, table)


run(main, snakemake)
