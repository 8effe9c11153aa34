"""Average groups of decoys as classes are averaged, and write their Fourier shell correlations."""

from typing import TYPE_CHECKING, Any

from cryopipe.averaging import AveragingOptions
from cryopipe.evidence.null_resolution import average_decoys, decoy_rows, decoys_to_average
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.features import read_features
from cryopipe.files.star import read_particles
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    names, features, _ = read_features(job.input.features)
    decoys = decoy_rows([read_particles(path) for path in job.input.decoys], names)
    options, device = AveragingOptions(**job.params.averaging), choose_device(job.config["device"])
    boxes = BoxStack(job.input.boxes)
    most = decoys_to_average(len(decoys), sum(len(read_particles(path)) for path in job.input.particles))
    curves = average_decoys(boxes, decoys, features, options, job.params.seed, device, most)
    write_table(job.output[0], curves)


run(main, snakemake)
