"""Autoencoder: codes that hold the species, reconstructed boxes, exact resuming, model files, refusals."""

from __future__ import annotations

import dataclasses
import logging
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from test_disca import two_classes

from cryopipe.boxes import ArrayBoxes
from cryopipe.config import DECODING_LEARNERS
from cryopipe.errors import ConfigError, FileError, LearningError
from cryopipe.features import LEARNERS, FeatureOptions, Learner, create_learner
from cryopipe.features.decoding import decode_clusters, latent_paths
from cryopipe.features.learners.autoencoder import AutoencoderLearner
from cryopipe.features.learners.autoencoder_options import AutoencoderOptions
from cryopipe.features.networks.autoencoder_network import Autoencoder
from cryopipe.features.smoothing import SmoothedBoxes
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.report.plots import slice_rows

CPU = torch.device("cpu")
TINY = FeatureOptions(
    learner="autoencoder",
    autoencoder=AutoencoderOptions(
        widths=(8, 8), feature_width=8, epochs=6, batch_size=16, learning_rate=3e-3, smoothing=0.0
    ),
)


def with_options(**changes: object) -> FeatureOptions:
    return dataclasses.replace(TINY, autoencoder=dataclasses.replace(TINY.autoencoder, **changes))


def learner(options: FeatureOptions = TINY, seed: int = 1) -> AutoencoderLearner:
    made = create_learner("autoencoder", options, CPU, seed)
    assert isinstance(made, AutoencoderLearner)
    return made


@pytest.mark.parametrize("size", [12, 13, 15])
def test_any_box_size_is_reconstructed_at_its_own_size(size: int) -> None:
    network = Autoencoder((4, 6), 5, size)
    boxes, codes = network(torch.randn(2, 1, size, size, size))
    assert boxes.shape == (2, 1, size, size, size)
    assert codes.shape == (2, 5)
    assert bool((codes >= 0).all())


def test_padding_keeps_the_centre() -> None:
    network = Autoencoder((4, 4), 5, 13)
    seen: list[torch.Tensor] = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    box = torch.zeros(1, 1, 13, 13, 13)
    box[..., 13 // 2, 13 // 2, 13 // 2] = 1
    network(box)
    assert seen[0].shape[2:] == (16, 16, 16)
    assert float(seen[0][0, 0, 8, 8, 8]) == 1


def test_the_code_tells_species_apart_and_decodes_to_them() -> None:
    boxes, classes = two_classes(80)
    made = learner(with_options(epochs=12, learning_rate=5e-3))
    history = made.fit(boxes)
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]
    features = made.embed(boxes)
    labels = KMeans(2, n_init=3, random_state=0).fit_predict(features)
    assert adjusted_rand_score(classes, labels) > 0.95
    truth = [boxes[classes == number].mean(axis=0) for number in (0, 1)]
    maps = made.decode(np.stack([features[classes == number].mean(axis=0) for number in (0, 1)]))
    assert maps.shape == (2, 12, 12, 12)
    found = np.corrcoef([*map(np.ravel, truth), *map(np.ravel, maps)])[:2, 2:]
    assert found.diagonal().min() > 0.9
    assert found[0, 1] < 0.5
    assert found[1, 0] < 0.5


def test_the_epoch_with_the_lowest_loss_on_unseen_boxes_is_kept_and_patience_ends_training() -> None:
    boxes, _ = two_classes(40)
    history = learner(with_options(epochs=40, patience=2, learning_rate=0.05)).fit(boxes)
    best = int(history["validation_loss"].argmin())
    assert len(history) == best + 3
    assert "validation_loss" not in learner(with_options(validation_fraction=0.0)).fit(boxes)


def test_the_penalty_shrinks_the_code_and_the_rate_decays_with_the_steps() -> None:
    boxes, _ = two_classes(40)
    sums = []
    for penalty in (0.0, 0.1):
        made = learner(with_options(activity_penalty=penalty, learning_rate_decay=0.01))
        history = made.fit(boxes)
        sums.append(made.embed(boxes).sum())
    assert sums[1] < 0.5 * sums[0]
    # 36 boxes in batches of 16: three steps an epoch
    np.testing.assert_allclose(history["learning_rate"], 3e-3 / (1 + 0.03 * np.arange(6)))


def test_a_killed_training_ends_in_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, _ = two_classes(40)
    options, state = with_options(copies=1), tmp_path / "checkpoint.safetensors"
    whole = learner(options)
    history = whole.fit(boxes)
    steps = 0
    own_loss = AutoencoderLearner._loss

    def killed(self: AutoencoderLearner, *arguments: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > 12:  # in the third epoch
            raise KeyboardInterrupt
        return own_loss(self, *arguments)

    interrupted = learner(options)
    with monkeypatch.context() as patch:
        patch.setattr(AutoencoderLearner, "_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            interrupted.fit(boxes, checkpoint=state)
    assert state.is_file()
    resumed = learner(options)
    again = resumed.fit(boxes, checkpoint=state)
    np.testing.assert_array_equal(resumed.embed(boxes), whole.embed(boxes))
    assert again["loss"].tolist() == history["loss"].tolist()


def test_an_earlier_model_is_applied_without_training_and_refuses_other_boxes(tmp_path: Path) -> None:
    boxes, _ = two_classes(30)
    made, path = learner(), tmp_path / "model.safetensors"
    made.fit(ArrayBoxes(boxes, (-60, 60), 10.0))
    made.save(path)
    options = dataclasses.replace(with_options(train=False), weights=str(path))
    applied = learner(options, seed=5)
    assert len(applied.fit(boxes[:4])) == 0
    np.testing.assert_allclose(applied.embed(boxes[:4]), made.embed(boxes)[:4], atol=1e-4)
    codes = made.embed(boxes)
    np.testing.assert_array_equal(applied.decode(codes), made.decode(codes))
    refused = r"the model was trained on boxes of 12 voxels at 10 angstrom, these are "
    with pytest.raises(LearningError, match=refused + "boxes of 14 voxels"):
        applied.embed(np.zeros((2, 14, 14, 14), np.float32))
    with pytest.raises(LearningError, match=refused + "boxes of 12 voxels at 11 angstrom"):
        learner(options).fit(ArrayBoxes(boxes, (-60, 60), 11.0))
    # With train: true, training continues from the model.
    continued = learner(dataclasses.replace(TINY, weights=str(path)))
    assert continued.fit(boxes)["loss"].iloc[0] < made.fit(boxes)["loss"].iloc[0] * 1.05


def test_a_model_keeps_the_preparation_of_its_boxes(tmp_path: Path) -> None:
    boxes, _ = two_classes(30)
    made, path = learner(with_options(smoothing=1.0, pose_normalisation=True)), tmp_path / "model.safetensors"
    made.fit(boxes)
    made.save(path)
    applied = learner(dataclasses.replace(with_options(train=False), weights=str(path)))
    applied.fit(boxes)
    np.testing.assert_array_equal(applied.embed(boxes), made.embed(boxes))
    tensors, notes = load_weights(path)
    for damaged in ("", "{}", '{"smoothing": -1, "pose_normalisation": true}'):
        save_weights(path, tensors, {**notes, "preparation": damaged})
        with pytest.raises(
            FileError, match="the description of the boxes' preparation is missing or damaged"
        ):
            learner().load(path)


def test_no_training_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"features\.autoencoder\.train is false, but features\.weights"):
        learner(with_options(train=False)).fit(two_classes(20)[0])
    with pytest.raises(LearningError, match="the autoencoder has no weights; call fit or load first"):
        learner().decode(np.zeros((1, 8), np.float32))


def test_few_boxes_are_embedded_without_training(caplog: pytest.LogCaptureFixture) -> None:
    boxes, _ = two_classes(10)
    with caplog.at_level(logging.WARNING):
        assert len(learner().fit(boxes[:9])) == 0
    assert "9 boxes: at least 10 are needed for training; the network is not trained" in caplog.text
    made = learner()
    assert len(made.fit(boxes)) == 6
    assert np.isfinite(made.embed(boxes)).all()
    assert made.embed(boxes[:0]).shape[0] == 0


def test_pose_normalisation_makes_the_code_independent_of_orientation() -> None:
    boxes, _ = two_classes(24)
    boxes[:, :4] *= 2  # elongated, so that a quarter turn is a new orientation
    boxes -= boxes.mean(axis=(1, 2, 3), keepdims=True)
    rotated = np.rot90(boxes[:, 1:, 1:, 1:], axes=(1, 3)).copy()
    distances = []
    for normalised in (False, True):
        made = learner(with_options(pose_normalisation=normalised))
        made.fit(boxes[:, 1:, 1:, 1:])
        own, other = made.embed(boxes[:, 1:, 1:, 1:]), made.embed(rotated)
        distances.append(np.linalg.norm(own - other) / np.linalg.norm(own))
    assert distances[1] < 0.1 * distances[0]


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    made = learner()
    made.fit(two_classes(12)[0])
    made.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"model\.safetensors"):
        learner().load(path)


def test_clusters_are_decoded_from_the_mean_of_their_members() -> None:
    boxes, classes = two_classes(30)
    made = learner(with_options(epochs=2))
    made.fit(boxes)
    features = made.embed(boxes)
    clusters = np.where(np.arange(30) < 3, 0, classes + 1)
    maps = decode_clusters(made, features, clusters)
    assert list(maps) == [1, 2]
    for number, found in maps.items():
        mean = features[clusters == number].astype(np.float64).mean(axis=0, keepdims=True)
        np.testing.assert_allclose(found, made.decode(mean.astype(np.float32))[0], atol=1e-5)
    assert decode_clusters(made, features, np.zeros(30, np.int64)) == {}
    radial = create_learner("radial", FeatureOptions(learner="radial"), CPU, 1)
    with pytest.raises(LearningError, match=r"features\.learner: radial generates no boxes"):
        decode_clusters(radial, features, clusters)


def test_paths_lead_from_the_largest_cluster_to_the_next_and_have_no_pose() -> None:
    boxes, classes = two_classes(30)
    made = learner(with_options(epochs=2))
    made.fit(boxes)
    features = made.embed(boxes)
    clusters = np.where(np.arange(30) < 3, 0, classes + 1)
    (path,) = latent_paths(made, features, clusters, made.poses(boxes))
    first, second = np.argsort(-np.bincount(clusters)[1:], kind="stable") + 1
    assert path.title == f"From cluster {first} to cluster {second}"
    assert path.captions == ("0.00", "0.17", "0.33", "0.50", "0.67", "0.83", "1.00")
    centres = np.stack([features[clusters == number].mean(axis=0) for number in (first, second)])
    halfway = np.concatenate([centres[:1], centres.mean(axis=0, keepdims=True), centres[1:]])
    np.testing.assert_allclose(path.maps[[0, 3, 6]], made.decode(halfway), atol=1e-5)
    assert latent_paths(made, features, np.zeros(30, np.int64)) == []
    assert (
        slice_rows([(path.title, path.maps, path.captions)] * 2).height
        == 2 * slice_rows([(path.title, path.maps, path.captions)]).height
    )


def test_the_snakefile_knows_the_learners_that_decode() -> None:
    found = set()
    for name, entry in LEARNERS.items():
        module, _, class_name = entry.location.partition(":")
        if getattr(import_module(module), class_name).decode is not Learner.decode:
            found.add(name)
    assert found == DECODING_LEARNERS


def test_smoothing_lets_noisy_boxes_be_learned_and_a_useless_code_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    boxes, classes = two_classes(80, noise=3.0)
    found = []
    for options in (with_options(activity_penalty=1.0), with_options(smoothing=1.5, epochs=12)):
        made = learner(options)
        with caplog.at_level(logging.WARNING):
            made.fit(boxes)
            features = made.embed(boxes)
        found.append((features.std(axis=0).any(), caplog.text))
        caplog.clear()
    assert not found[0][0]
    assert "the code is the same for all boxes, so there will be one cluster; raise features" in found[0][1]
    assert found[1][0]
    assert not found[1][1]
    labels = KMeans(2, n_init=3, random_state=0).fit_predict(features)
    assert adjusted_rand_score(classes, labels) > 0.5


def test_smoothed_boxes_are_a_gaussian_convolution_and_normalised() -> None:
    boxes = np.random.default_rng(0).normal(size=(3, 14, 14, 14)).astype(np.float32)
    found = SmoothedBoxes(boxes, 1.5, CPU)[:]
    expected = gaussian_filter(boxes, (0, 1.5, 1.5, 1.5), mode="constant", truncate=10)
    expected -= expected.mean(axis=(1, 2, 3), keepdims=True)
    expected /= expected.std(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert SmoothedBoxes(boxes, 1.5, CPU)[np.array([2])].shape == (1, 14, 14, 14)
