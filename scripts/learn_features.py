"""Learn features from all boxes and embed every box."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.features import FeatureOptions, create_learner, learn_features
from cryopipe.features.training.distributed import (
    granted_gpus,
    is_first_process,
    process_group,
    run_in_processes,
)
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.particle_labels import labels_of_boxes
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    if run_in_processes(granted_gpus(job.resources.get("gpu"), job.resources.get("gres")), sys.argv[0]):
        return
    options, boxes = FeatureOptions(**job.params.features), BoxStack(job.input.boxes)
    with process_group(choose_device(job.config["device"])) as device:
        learner = create_learner(options.learner, options, device, job.params.seed, job.config["memory_gb"])
        labels = labels_of_boxes(options.labels, job.input.particles, boxes.names) if options.labels else None
        learned = learn_features(learner, boxes, options, Path(job.params.checkpoint), labels)
        if is_first_process():
            learned.write(job.output.features, boxes.names, boxes.voxel_size)
            write_table(job.output.history, learned.history)
            learner.save(job.output.model)


run(main, snakemake)
