"""Interface of all learners, and the radial statistics baseline."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from test_disca import TINY, two_classes

from cryopipe.boxes import ArrayBoxes
from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.errors import ConfigError, FileError
from cryopipe.features import LEARNERS, FeatureOptions, create_learner, learn_features
from cryopipe.files.mrc import write_volume
from cryopipe.files.weights import save_weights

CPU = torch.device("cpu")
OPTIONS = dataclasses.replace(
    TINY,
    disca=dataclasses.replace(TINY.disca, iterations=1),
    autoencoder=dataclasses.replace(TINY.autoencoder, widths=(4, 4), epochs=2),
    contrastive=dataclasses.replace(TINY.contrastive, epochs=1, fine_tuning_epochs=1),
)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_fits_embeds_and_is_restored_from_its_file(name: str, tmp_path: Path) -> None:
    boxes, labels = two_classes(40, size=24 if name == "transfer" else 12)
    (tmp_path / "maps").mkdir()
    for index in range(2):
        write_volume(tmp_path / "maps" / f"map_{index}.mrc", boxes[labels == index].mean(axis=0), 10.0)
    options = dataclasses.replace(
        OPTIONS, learner=name, template=dataclasses.replace(TINY.template, maps=str(tmp_path / "maps"))
    )
    learner = create_learner(name, options, CPU, 1)
    boxes = ArrayBoxes(boxes, (-60, 60), 10.0)
    history = learner.fit(boxes, labels=labels, checkpoint=tmp_path / "checkpoint.safetensors")
    assert "iteration" in history
    features = learner.embed(boxes)
    assert features.shape[0] == 40
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    # The features of a box depend on that box only.
    np.testing.assert_allclose(
        learner.embed(ArrayBoxes(boxes[7:9], (-60, 60), 10.0)), features[7:9], atol=1e-4
    )
    learner.save(tmp_path / "model.safetensors")
    other = create_learner(name, options, CPU, 2)
    other.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.embed(boxes), features)


@pytest.mark.parametrize("name", LEARNERS)
def test_files_of_other_learners_are_refused(name: str, tmp_path: Path) -> None:
    save_weights(tmp_path / "other.safetensors", {}, {"kind": "something else"})
    with pytest.raises(FileError, match=r"other\.safetensors: contains 'something else', not"):
        create_learner(name, OPTIONS, CPU, 1).load(tmp_path / "other.safetensors")


def test_an_unknown_learner_is_refused_with_the_known_ones() -> None:
    known = ", ".join(sorted(LEARNERS))
    with pytest.raises(ConfigError, match=f"features.learner 'x' is unknown; choose one of {known}"):
        create_learner("x", OPTIONS, CPU, 1)


def test_radial_features_are_the_statistics_of_shells() -> None:
    boxes = np.random.default_rng(0).normal(2, 3, (3, 17, 17, 17)).astype(np.float16).astype(np.float32)
    features = create_learner("radial", OPTIONS, CPU, 1).embed(boxes)
    radius = np.rint(np.linalg.norm(np.indices((17,) * 3) - 8, axis=0))
    shells = [radius <= 1, *(radius == shell for shell in range(2, 9))]
    assert features.shape == (3, 16)
    for box, found in zip(boxes, features, strict=True):
        means, deviations = ([f(box[shell]) for shell in shells] for f in (np.mean, np.std))
        np.testing.assert_allclose(found, [*means, *deviations], rtol=1e-4)
    rotated = np.rot90(boxes, axes=(1, 3)).copy()
    np.testing.assert_allclose(create_learner("radial", OPTIONS, CPU, 1).embed(rotated), features, rtol=1e-4)


def test_radial_statistics_separate_balls_from_shells() -> None:
    boxes, classes = two_classes(120, size=16, noise=1.0)
    options = FeatureOptions(learner="radial", clusters=(2, 3), mixture_starts=2)
    learned = learn_features(create_learner("radial", options, CPU, 1), boxes, options)
    assert len(learned.history) == 0
    clusters = find_clusters(learned.features, ClusteringOptions(), seed=1)
    assert len(clusters.labels) == 120
    assert adjusted_rand_score(classes, clusters.labels) > 0.95
