"""Train a transfer encoder on simulated boxes by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.plan_files import read_yaml
from cryopipe.features.learners.transfer import save_encoder
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.pretraining.recipe import recipe_from_mapping
from cryopipe.pretraining.run import pretrain
from cryopipe.pretraining.training_boxes import class_set_phantoms
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    params = job.params
    recipe = recipe_from_mapping(read_yaml(Path(job.input.recipe)))
    templates = None if params.templates is None else Path(params.templates)
    class_sets = [class_set_phantoms(classes, templates) for classes in recipe.classes]
    device = choose_device(params.device)
    encoder, history = pretrain(recipe, class_sets, device, params.seed, Path(params.checkpoint))
    save_encoder(job.output.weights, encoder, {"recipe": repr(recipe), "seed": str(params.seed)})
    write_table(job.output.history, pd.DataFrame(history))


run(main, snakemake)
