"""Decode the mean features of one cluster to a map."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe import columns
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.decoding import decode_clusters
from cryopipe.files.features import read_features
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    number = int(job.wildcards.cluster)
    names, features, _ = read_features(job.input.features)
    clusters = read_particles(job.input.particles).set_index(columns.PARTICLE)[columns.CLASS].loc[names]
    mine = np.flatnonzero(clusters.to_numpy(int) == number)
    options = FeatureOptions(learner=job.params.learner)
    learner = create_learner(options.learner, options, choose_device(job.config["device"]), seed=0)
    learner.load(job.input.model)
    maps = decode_clusters(learner, features[mine], np.full(len(mine), number))
    write_volume(job.output[0], maps[number], job.params.subtomograms["voxel_size"])


run(main, snakemake)
