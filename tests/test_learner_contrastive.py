"""Contrastive learner: separation without labels, fine-tuning on few labels, exact resuming, model files, refusals."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from test_disca import two_classes

from cryopipe.boxes import ArrayBoxes
from cryopipe.errors import ConfigError, FileError, LearningError
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.learners.contrastive import Contrastive
from cryopipe.features.learners.contrastive_options import ContrastiveOptions
from cryopipe.features.training.fine_tuning import FineTuning, held_out_examples
from cryopipe.files.weights import load_weights, save_weights

CPU = torch.device("cpu")
TINY = FeatureOptions(
    learner="contrastive",
    weights="random",
    contrastive=ContrastiveOptions(
        network="rb3d", widths=(8, 8, 8), epochs=3, batch_size=16, learning_rate=3e-3, projection_width=16, queue=32,
        prototypes=6, fine_tuning_epochs=4, fine_tuning_batch_size=8, fine_tuning_learning_rate=5e-2, noise=0.2,
    ),
)  # fmt: skip


def with_options(**changes: object) -> FeatureOptions:
    return dataclasses.replace(TINY, contrastive=dataclasses.replace(TINY.contrastive, **changes))


def learner(options: FeatureOptions = TINY, seed: int = 1) -> Contrastive:
    made = create_learner("contrastive", options, CPU, seed)
    assert isinstance(made, Contrastive)
    return made


def boxes_of(count: int, noise: float = 0.5) -> tuple[ArrayBoxes, np.ndarray]:
    values, classes = two_classes(count, 16, noise)
    return ArrayBoxes(values, (-60.0, 60.0), 10.0), classes


@pytest.mark.parametrize("method", ["moco", "simclr", "swav"])
def test_classes_are_separated_without_labels(method: str) -> None:
    boxes, classes = boxes_of(64)
    made = learner(with_options(method=method, epochs=5))
    history = made.fit(boxes)
    assert np.isfinite(history["loss"]).all()
    features = made.embed(boxes)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-3)
    assert adjusted_rand_score(classes, KMeans(2, n_init=5, random_state=0).fit_predict(features)) > 0.9
    assert made.classify(boxes) is None


def test_fine_tuning_needs_few_labels_and_names_the_classes(tmp_path: Path) -> None:
    boxes, classes = boxes_of(80, noise=1.0)
    labels = np.full(80, -1)
    labels[:20] = classes[:20]
    made = learner(with_options(fine_tuning_epochs=15))
    made.class_names = ("ball", "shell")
    history = made.fit(boxes, labels)
    assert history["iteration"].tolist() == list(range(18))
    assert history["validation_loss"].notna().tolist() == [False] * 3 + [True] * 15
    found = made.classify(boxes)
    assert found is not None
    assert found.names == ("ball", "shell")
    assert (found.unknown == 0).all()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (found.probabilities.argmax(axis=1) == classes)[20:].mean() > 0.95
    made.save(tmp_path / "model.safetensors")
    other = learner(seed=2)
    other.load(tmp_path / "model.safetensors")
    again = other.classify(boxes)
    assert again is not None
    assert again.names == ("ball", "shell")
    np.testing.assert_array_equal(again.probabilities, found.probabilities)
    # Training it again without labels drops the classifier, which would no longer fit.
    other.fit(boxes)
    assert other.classify(boxes) is None


def test_examples_that_choose_the_epoch_are_a_fifth_of_each_class() -> None:
    labels = np.array([0] * 10 + [1] * 5 + [-1] * 7)
    chosen = held_out_examples(labels, 1)
    assert [int(chosen[labels == number].sum()) for number in (0, 1, -1)] == [2, 1, 0]
    assert not held_out_examples(np.array([0] * 10 + [1] * 4), 1).any()
    assert not held_out_examples(np.full(3, -1), 1).any()


def test_the_rate_of_fine_tuning_follows_a_cosine() -> None:
    recipe = FineTuning(4, 16, 0.1, 0.0)
    np.testing.assert_allclose(
        [recipe.rate(epoch) for epoch in range(4)], [0.1, 0.0853553, 0.05, 0.0146447], rtol=1e-5
    )


class Killed(Exception):
    pass


@pytest.mark.parametrize(("method", "stop"), [("moco", 4), ("swav", 5), ("moco", 12)])
def test_a_killed_training_resumes_to_the_same_features(
    method: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the training on views (9 steps) or in fine-tuning."""
    boxes, classes = boxes_of(48)
    options = with_options(method=method)
    labels = np.where(np.arange(48) < 24, classes, -1)
    whole = learner(options)
    history = whole.fit(boxes, labels)
    steps = 0
    original = torch.optim.Optimizer.zero_grad

    def counted(*arguments: object, **named: object) -> None:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise Killed
        original(*arguments, **named)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", counted)
    with pytest.raises(Killed):
        learner(options).fit(boxes, labels, tmp_path / "state.safetensors")
    monkeypatch.undo()
    resumed = learner(options)
    again = resumed.fit(boxes, labels, tmp_path / "state.safetensors")
    pd.testing.assert_frame_equal(
        again.drop(columns="seconds"), history.drop(columns="seconds"), check_exact=True
    )
    np.testing.assert_array_equal(resumed.embed(boxes), whole.embed(boxes))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "state.safetensors",
        "state_fine_tuning.safetensors",
    ]


def test_memory_of_the_methods_is_in_the_checkpoint(tmp_path: Path) -> None:
    learner(with_options(epochs=1)).fit(boxes_of(40)[0], checkpoint=tmp_path / "state.safetensors")
    names = set(load_weights(tmp_path / "state.safetensors")[0])
    assert {"network.queue", "network.filled", "network.steps"} <= names
    assert any(name.startswith("network.momentum_encoder.") for name in names)


def test_the_encoder_starts_from_the_shipped_weights_or_random_ones() -> None:
    boxes, _ = two_classes(12, 24)
    options = with_options(network="encoder", train=False)
    shipped = learner(dataclasses.replace(options, weights=None))
    assert len(shipped.fit(boxes)) == 0
    transfer = create_learner("transfer", FeatureOptions(), CPU, 1)
    np.testing.assert_allclose(shipped.embed(boxes), transfer.embed(boxes), atol=1e-6)
    fresh = learner(with_options(network="encoder", epochs=0))
    fresh.fit(boxes)
    assert not np.allclose(fresh.embed(boxes), shipped.embed(boxes), atol=0.1)


def test_an_earlier_model_is_applied_without_training(tmp_path: Path) -> None:
    boxes, _ = boxes_of(40)
    made = learner(with_options(epochs=1))
    made.fit(boxes)
    made.save(tmp_path / "model.safetensors")
    path = str(tmp_path / "model.safetensors")
    applied = learner(dataclasses.replace(with_options(train=False), weights=path), seed=5)
    assert len(applied.fit(boxes)) == 0
    np.testing.assert_array_equal(applied.embed(boxes), made.embed(boxes))
    with pytest.raises(
        ConfigError, match=r"train is false, but features\.weights names no model; set features\.weights"
    ):
        learner(with_options(train=False)).fit(boxes)
    larger = ArrayBoxes(np.zeros((12, 18, 18, 18), np.float32), (-60.0, 60.0), 10.0)
    with pytest.raises(
        LearningError, match="trained on boxes of 16 voxels at 10 angstrom, these are boxes of 18 voxels"
    ):
        applied.embed(larger)
    coarser = ArrayBoxes(boxes.boxes, (-60.0, 60.0), 12.0)
    with pytest.raises(LearningError, match="at 10 angstrom, these are boxes of 16 voxels at 12 angstrom"):
        applied.embed(coarser)


def test_damaged_classifiers_are_refused(tmp_path: Path) -> None:
    boxes, classes = boxes_of(40)
    made = learner(with_options(epochs=0, fine_tuning_epochs=1))
    made.fit(boxes, classes)
    path = tmp_path / "model.safetensors"
    made.save(path)
    tensors, notes = load_weights(path)
    for changed, message in (
        ({"classes": "[1"}, "names of the classes are missing or damaged"),
        ({"classes": '["a", "b", "c"]'}, "classifier does not fit the network and the 3 classes"),
    ):
        save_weights(path, tensors, {**notes, **changed})
        with pytest.raises(FileError, match=message):
            learner().load(path)


def test_few_boxes_are_embedded_without_training(caplog: pytest.LogCaptureFixture) -> None:
    boxes, classes = boxes_of(10)
    few = ArrayBoxes(boxes.boxes[:9], (-60.0, 60.0), 10.0)
    made = learner()
    with caplog.at_level(logging.WARNING):
        assert len(made.fit(few, classes[:9])) == 0
    assert "9 boxes: at least 10 are needed for training; the network is not trained" in caplog.text
    assert made.embed(few).shape == (9, 64)
    assert len(learner(with_options(epochs=1)).fit(boxes)) == 1


def test_unknown_tilt_ranges_are_reported_and_defocus_needs_the_voxel_size(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain, _ = two_classes(12, 16)
    with caplog.at_level(logging.WARNING):
        learner(with_options(epochs=1)).fit(plain)
    assert "the tilt range of the boxes is unknown: views are rotated without a missing wedge" in caplog.text
    with pytest.raises(
        ConfigError, match=r"defocus is \[2.0, 5.0\], but the boxes do not state their voxel size"
    ):
        learner(with_options(defocus=(2.0, 5.0))).fit(plain)


def test_too_few_labels_are_refused_in_one_line() -> None:
    boxes, _ = boxes_of(12)
    labels = np.full(12, -1)
    labels[0] = 0
    with pytest.raises(
        LearningError, match="fewer than two labelled boxes to train on; label more particles"
    ):
        learner(with_options(epochs=0)).fit(boxes, labels)


PROGRAM = """
import sys, torch, numpy as np
sys.path.insert(0, {tests!r})
from test_learner_contrastive import boxes_of, learner, with_options
from cryopipe.features.training import devices
from cryopipe.features.training.distributed import is_first_process, process_group, run_in_processes
torch.set_num_threads(1)
devices.has_fast_bfloat16 = lambda device: False
if not run_in_processes({count}, sys.argv[0]):
    with process_group(torch.device("cpu")):
        boxes, classes = boxes_of(41)
        found = dict()
        # Adam makes full steps of rounding errors where a gradient is 0, as before batch normalisation: small steps there.
        for method, network, rate in (("moco", "rb3d", 3e-3), ("simclr", "rb3d", 3e-3), ("swav", "rb3d", 3e-3),
                                      ("moco", "encoder", 1e-5), ("simclr", "encoder", 1e-5)):
            made = learner(with_options(method=method, network=network, learning_rate=rate, batch_size=15, epochs=1,
                                        fine_tuning_epochs=1, fine_tuning_learning_rate=1e-3))
            labels = np.where(np.arange(41) < 21, classes, -1)
            history = made.fit(boxes, labels)
            found[method + network] = made.embed(boxes)
            found[method + network + "loss"] = history["loss"].to_numpy()
        if is_first_process():
            np.savez({out!r}, **found)
"""


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    results = []
    for count in (1, 2):
        script, out = tmp_path / f"learn{count}.py", tmp_path / f"{count}.npz"
        script.write_text(PROGRAM.format(tests=str(Path(__file__).parent), out=str(out), count=count))
        subprocess.run([sys.executable, str(script)], check=True, timeout=300, env=os.environ)
        with np.load(out) as arrays:
            results.append(dict(arrays))
    for name, values in results[0].items():
        np.testing.assert_allclose(results[1][name], values, atol=2e-3, err_msg=name)
