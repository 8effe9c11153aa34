"""Embed the decoys of all tomograms with the trained model."""

from typing import TYPE_CHECKING, Any

from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.learning import embed_centred
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.features import write_features
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options, boxes = FeatureOptions(**job.params.features), BoxStack(job.input.boxes)
    device = choose_device(job.config["device"])
    learner = create_learner(options.learner, options, device, job.params.seed, job.config["memory_gb"])
    learner.load(job.input.model)
    write_features(job.output[0], boxes.names, embed_centred(learner, boxes, options)[0])


run(main, snakemake)
