"""Training of the transfer encoder: recipes, training boxes, and resuming with an unchanged result."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cryopipe.errors import ConfigError, SimulationError
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.pretraining import run as pretraining
from cryopipe.pretraining.recipe import ClassSet, Recipe, Stage, recipe_from_mapping
from cryopipe.pretraining.run import PretrainingRun, pretrain
from cryopipe.pretraining.training_boxes import TrainingBoxes, class_set_phantoms

CPU = torch.device("cpu")
RECIPES = sorted((Path(__file__).parents[1] / "benchmarks/recipes").glob("*_*.yaml"))
CLASSES = ClassSet(voxel_size=13.33, resolution=27, count=3, first_seed=1000, largest_radius=60)
EASY = Stage(
    boxes=192, learning_rate=(5e-3, 5e-3), batch_size=16, displacement=0.0, snr=(5.0, 5.0), conditions=1,
    tilt_limit=(60.0, 60.0), crowding=(0.0, 0.0),
)  # fmt: skip
RECIPE = Recipe((CLASSES,), (EASY, replace(EASY, boxes=160)), box_size=16)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_whole(path: Path) -> None:
    recipe = recipe_from_mapping(yaml.safe_load(path.read_text()))
    # The learning rate must end near 0, and the class sets must not overlap.
    assert recipe.stages[-1].rate(recipe.stages[-1].steps - 1) < 1e-5
    for one in recipe.classes:
        assert one.largest_radius + max(s.displacement for s in recipe.stages) <= 12 * one.voxel_size
        assert not one.templates or len(one.templates) == one.count


def test_wrong_recipes_are_named() -> None:
    with pytest.raises(ConfigError, match="stages: unknown 'rate', no 'boxes', no 'learning_rate'"):
        recipe_from_mapping({"classes": [], "stages": [{"rate": 1}]})
    with pytest.raises(
        ConfigError, match="the recipe has no classes or no stages; give at least one of each"
    ):
        recipe_from_mapping({"classes": [], "stages": []})


def test_missing_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"lacks one.mrc, two.mrc"):
        class_set_phantoms(replace(CLASSES, templates=("one", "two")), tmp_path)


def test_boxes_of_a_step_do_not_depend_on_the_steps_before() -> None:
    sets = [class_set_phantoms(CLASSES)]
    stage = replace(EASY, conditions=2, crowding=(0.05, 0.1), snr=(1.0, 1.0))
    walked, jumped = (TrainingBoxes(sets, stage, 16, CPU, 1) for _ in range(2))
    for step in range(30):
        boxes, labels = walked.batch(step)
    there, their_labels = jumped.batch(29)
    torch.testing.assert_close(boxes, there, rtol=0, atol=0)
    torch.testing.assert_close(labels, their_labels)


def test_classes_are_numbered_through_and_empty_boxes_come_last() -> None:
    sets = [class_set_phantoms(CLASSES), class_set_phantoms(replace(CLASSES, count=2, first_seed=1010))]
    source = TrainingBoxes(sets, replace(EASY, empty_fraction=0.3), 16, CPU, 1)
    assert source.classes == 6
    seen = torch.cat([source.batch(step)[1] for step in range(0, 60, 2)])
    assert sorted(seen.unique().tolist()) == [0, 1, 2, 3, 4, 5]
    shares = torch.bincount(seen) / len(seen)
    assert shares[5] == pytest.approx(0.3, abs=0.08)


def test_pretraining_learns_to_separate_phantoms_and_is_reproducible() -> None:
    encoder, history = pretrain(RECIPE, [class_set_phantoms(CLASSES)], CPU, 1)
    assert [row["stage"] for row in history] == [1, 2]
    assert history[1]["accuracy"] > 0.5
    again, _ = pretrain(RECIPE, [class_set_phantoms(CLASSES)], CPU, 1)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_interrupted_training_gives_the_result_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "CHECKPOINT_STEPS", 5)
    sets = [class_set_phantoms(CLASSES)]
    unbroken, history = pretrain(RECIPE, sets, CPU, 1, tmp_path / "unbroken.safetensors")
    real, steps = PretrainingRun.train_step, 0

    def dying(self: PretrainingRun, boxes: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        nonlocal steps
        steps += 1
        if steps in (9, 20):
            raise KeyboardInterrupt
        return real(self, boxes, labels)

    monkeypatch.setattr(PretrainingRun, "train_step", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pretrain(RECIPE, sets, CPU, 1, tmp_path / "broken.safetensors")
    broken, later = pretrain(RECIPE, sets, CPU, 1, tmp_path / "broken.safetensors")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, broken.state_dict()[name]), name
    assert [row["step"] for row in later] == [row["step"] for row in history]


def test_training_stops_between_steps_and_a_wider_encoder_is_wider() -> None:
    wide = replace(RECIPE, widths=(4, 8, 12))
    run = PretrainingRun(wide, [class_set_phantoms(CLASSES)], CPU, 1)
    run.train(may_continue=lambda: run.step < 3)
    assert (run.stage, run.step) == (0, 3)
    assert run.encoder.widths == (4, 8, 12)
    assert len(run.history) == 0


def test_the_checkpoint_of_another_run_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, sets = tmp_path / "state.safetensors", [class_set_phantoms(CLASSES)]
    pretrain(replace(RECIPE, stages=(replace(EASY, boxes=32),)), sets, CPU, 1, path)
    _, history = pretrain(replace(RECIPE, stages=(replace(EASY, boxes=48),)), sets, CPU, 1, path)
    assert "the checkpoint belongs to another run; training restarts" in caplog.text
    assert np.isfinite(history[-1]["loss"])
    assert history[-1]["step"] == 3


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("directions", "missing tensors: 1, such as directions"),
        ("optimiser.0.exp_avg", "missing tensors: 1, such as optimiser.0.exp_avg"),
        ("shape of directions", "RuntimeError("),
    ],
)
def test_a_damaged_checkpoint_is_reported_and_training_restarts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: str, said: str
) -> None:
    path, sets = tmp_path / "state.safetensors", [class_set_phantoms(CLASSES)]
    recipe = replace(RECIPE, stages=(replace(EASY, boxes=48),))
    expected, history = pretrain(recipe, sets, CPU, 1, path)
    tensors, metadata = load_weights(path)
    if lost in tensors:
        del tensors[lost]
    else:
        tensors["directions"] = tensors["directions"][:, :-1].contiguous()
    save_weights(path, tensors, metadata)
    again, repeated = pretrain(recipe, sets, CPU, 1, path)
    assert f"{path}: the checkpoint is damaged ({said}" in caplog.text
    for name, value in expected.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert repeated == history
