"""Learn features from all boxes and embed every box."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.centring import CentredBoxes, Centring, find_centres
from cryopipe.files.boxes import BoxStack
from cryopipe.files.features import write_features
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = FeatureOptions(**job.params.options)
    device = choose_device(job.params.device)
    boxes = BoxStack(job.input.boxes)
    centring = find_centres(boxes, device, job.params.seed) if options.centre else Centring.none(len(boxes))
    centred = CentredBoxes(boxes, centring.shifts_voxels)
    learner = create_learner(options.learner, options, device, job.params.seed, job.params.memory_gb)
    history = learner.fit(centred, checkpoint=Path(job.params.checkpoint))
    write_features(
        job.output.features,
        boxes.names,
        learner.embed(centred),
        shifts=centring.shifts_voxels * boxes.voxel_size,
        centring_scores=centring.scores,
    )
    write_table(job.output.history, history)
    learner.save(job.output.model)


run(main, snakemake)
