"""Train a few-shot network on simulated episodes by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plan_files import read_yaml
from cryopipe.features.learners.protonet import save_few_shot
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.pretraining.episode_training import train_few_shot
from cryopipe.pretraining.episodes import episode_recipe
from cryopipe.pretraining.training_boxes import class_set_phantoms
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    params = job.params
    recipe = episode_recipe(read_yaml(Path(job.input.recipe)))
    class_sets = [class_set_phantoms(classes) for classes in recipe.classes]
    network, history = train_few_shot(
        recipe, class_sets, choose_device(params.device), params.seed, Path(params.checkpoint)
    )
    save_few_shot(job.output.weights, network, {"recipe": repr(recipe), "seed": str(params.seed)})
    write_table(job.output.history, history)


run(main, snakemake)
