"""Draw what the network generates between clusters, and along the poses that it has learned."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe import columns
from cryopipe.boxes import ChosenBoxes
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.decoding import latent_paths
from cryopipe.files.atomic import atomic_path
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.features import read_features
from cryopipe.files.star import read_particles
from cryopipe.job import run
from cryopipe.report.plots import slice_rows
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

MOST_POSES = 500


def main(job: Any) -> None:
    names, features, _ = read_features(job.input.features)
    clusters = read_particles(job.input.particles).set_index(columns.PARTICLE)[columns.CLASS].loc[names]
    options, boxes = FeatureOptions(learner=job.params.learner), BoxStack(job.input.boxes)
    learner = create_learner(options.learner, options, choose_device(job.config["device"]), seed=0)
    learner.load(job.input.model)
    some = np.linspace(0, len(boxes) - 1, min(MOST_POSES, len(boxes))).astype(int)
    poses = learner.poses(ChosenBoxes(boxes, some)) if len(boxes) else None
    paths = latent_paths(learner, features, clusters.to_numpy(int), poses)
    with atomic_path(job.output[0]) as temporary:
        slice_rows([(path.title, path.maps, path.captions) for path in paths]).save(temporary, "PNG")


run(main, snakemake)
