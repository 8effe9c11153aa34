"""Compare all classes with decoys: significance, purity, local false discovery rates."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe import columns
from cryopipe.averaging import AveragingOptions
from cryopipe.evidence.assessment import assess_classes
from cryopipe.evidence.null_resolution import decoy_rows
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.cluster_averages import read_averages
from cryopipe.files.features import features_of, read_features
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    particles = read_particles(job.input.particles)
    features = features_of(job.input.features, particles[columns.PARTICLE].tolist())
    names, decoy_features, _ = read_features(job.input.decoy_features)
    decoys = decoy_rows([read_particles(path) for path in job.input.decoys], names)
    found = assess_classes(
        read_averages(job.input.averages, half_maps=True),
        (particles, features.astype(np.float32)),
        (decoys, decoy_features),
        BoxStack([*job.input.boxes, *job.input.decoy_boxes]),
        read_table(job.input.curves, text_columns=()),
        AveragingOptions(**job.params.averaging),
        job.params.seed,
        choose_device(job.config["device"]),
    )
    write_table(job.output.classes, found.classes)
    write_table(job.output.particles, found.particles)
    write_table(job.output.bands, found.bands)


run(main, snakemake)
