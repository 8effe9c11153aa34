"""Few-shot learner: prototypes on the encoder, ProtoNet3D and ProtoNet-CE, trained in episodes."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from test_disca import two_classes

from cryopipe.boxes import ChosenBoxes
from cryopipe.errors import ConfigError, FileError, LearningError
from cryopipe.features import FeatureOptions, learn_features
from cryopipe.features.learners.protonet import SHIPPED_WEIGHTS, ProtonetLearner
from cryopipe.features.learners.protonet_episodes import episode_loss
from cryopipe.features.learners.protonet_options import ProtonetOptions
from cryopipe.features.model_file import load_model
from cryopipe.features.networks.protonet_network import FewShotNetwork, ProtoNet3D, class_means
from cryopipe.features.training import fitting
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.particle_labels import ParticleLabels
from cryopipe.pretraining.episode_training import train_few_shot
from cryopipe.pretraining.episodes import EpisodeBoxes, EpisodeRecipe, EpisodeStage, episode_recipe
from cryopipe.pretraining.recipe import ClassSet
from cryopipe.pretraining.training_boxes import class_set_phantoms
from cryopipe.simulation.box_options import BoxOptions
from cryopipe.simulation.box_simulator import BoxSimulator
from cryopipe.simulation.phantoms import stock_phantoms

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[1] / "benchmarks" / "recipes"
TINY = ProtonetOptions(
    network="protonet3d", train=True, width=8, epochs=2, shots=(1, 2), queries=4, learning_rate=3e-3
)


def learner(weights: str | None = "random", seed: int = 1, **changes: Any) -> ProtonetLearner:
    protonet = dataclasses.replace(TINY, **changes)
    return ProtonetLearner(FeatureOptions(learner="protonet", weights=weights, protonet=protonet), CPU, seed)


def some(truth: np.ndarray, shots: int) -> np.ndarray:
    """Labels of the first particles of each class."""
    labels = np.full(len(truth), -1)
    for number in np.unique(truth):
        labels[np.flatnonzero(truth == number)[:shots]] = number
    return labels


@pytest.mark.parametrize(("view", "width"), [(16, 64), (24, 64), (31, 64), (32, 512), (47, 512)])
def test_the_width_follows_the_box_size_as_published(view: int, width: int) -> None:
    network = ProtoNet3D(64, view)
    assert network.feature_width == width
    small = ProtoNet3D(4, view)
    assert small(torch.zeros(1, 1, view, view, view)).shape == (1, width // 16)


def test_larger_boxes_are_seen_at_their_centre() -> None:
    network = ProtoNet3D(4, 16).eval()
    boxes = torch.randn(1, 1, 20, 20, 20)
    torch.testing.assert_close(network(boxes), network(boxes[..., 2:18, 2:18, 2:18]))


def test_prototypes_are_means_and_distances_are_squared() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    prototypes = class_means(features, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(prototypes, torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    network = FewShotNetwork(1, (2,), 16)
    plain = network.distances(prototypes, torch.tensor([[1.0, 3.0]]), False)
    torch.testing.assert_close(plain, torch.tensor([[9.0, 1.0]]) / network.feature_width)
    assert (
        network.distances(prototypes, features, True) >= network.distances(prototypes, features, False)
    ).all()


def test_the_loss_of_an_episode_is_that_of_its_classes() -> None:
    """Far apart classes cost nothing, mixed ones the logarithm of their number."""
    network = FewShotNetwork(1, (2,), 16)
    noise = 0.01 * torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(1))
    places = torch.tensor([[30.0, 0.0], [0.0, 30.0], [-30.0, -30.0]])[:, None]
    generator = torch.Generator().manual_seed(1)
    apart = episode_loss(network, places + noise, (1, 3), generator).item()
    together = episode_loss(network, noise, (1, 3), generator).item()
    assert apart < 0.5 * together
    assert together == pytest.approx(np.log(3), abs=0.4)


@pytest.mark.parametrize("network", ["protonet3d", "protonet_ce"])
def test_training_in_episodes_learns_to_classify(network: str, tmp_path: Path) -> None:
    """60 labelled boxes train, 60 others are classified by two examples of each class in the same run."""
    boxes, truth = two_classes(120, size=16, noise=2.0)
    labels = some(truth, 30)
    one = learner(network=network)
    history = one.fit(boxes, labels, tmp_path / "checkpoint.safetensors")
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]
    one.embed(boxes)
    found = one.classify(boxes)
    assert found is not None
    held_out = labels < 0
    assert np.mean(found.probabilities[held_out].argmax(axis=1) == truth[held_out]) > 0.9
    one.save(tmp_path / "model.safetensors")
    later = learner(str(tmp_path / "model.safetensors"), network=network, train=False)
    assert len(later.fit(boxes)) == 0
    again = later.classify(boxes)
    assert again is not None
    assert again.names == ("1", "2")
    np.testing.assert_allclose(again.probabilities, found.probabilities, atol=1e-3)


def test_training_that_was_killed_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, truth = two_classes(60, size=16)
    labels = some(truth, 20)
    unbroken = learner()
    unbroken.fit(boxes, labels, tmp_path / "unbroken.safetensors")
    real = fitting._Training.write

    def killed(self: Any, path: Path, fingerprint: str) -> None:
        real(self, path, fingerprint)
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting._Training, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        learner().fit(boxes, labels, tmp_path / "broken.safetensors")
    monkeypatch.setattr(fitting._Training, "write", real)
    resumed = learner()
    history = resumed.fit(boxes, labels, tmp_path / "broken.safetensors")
    assert len(history) == 2
    assert unbroken.network is not None
    assert resumed.network is not None
    for name, value in unbroken.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_few_labels_leave_the_weights_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    boxes, truth = two_classes(10, size=16)
    with caplog.at_level(logging.WARNING):
        history = learner().fit(boxes, some(truth, 3))
    assert len(history) == 0
    assert (
        "training in episodes needs 20 labelled particles of each of two or more classes, and there are 3 of the rarest "
        "of 2: the weights are used unchanged"
    ) in caplog.text


def test_labelled_particles_name_the_classes_of_the_others_by_the_shipped_encoder() -> None:
    boxes, truth = two_classes(60, size=24, noise=1.0)
    options = FeatureOptions(learner="protonet", centre=False)
    names = ("ball", "shell")
    one = ProtonetLearner(options, CPU, 1)
    learned = learn_features(one, boxes, options, labels=ParticleLabels(names, some(truth, 3)))
    assert learned.classes is not None
    assert learned.classes.names == names
    assert np.mean(learned.classes.probabilities.argmax(axis=1) == truth) > 0.95
    assert learned.features.shape == (60, 32)


@pytest.mark.parametrize("network", ["protonet3d", "protonet_ce"])
def test_the_shipped_networks_classify_phantoms_that_they_were_not_trained_on(network: str) -> None:
    """Three phantoms at SNR 0.3, three examples of each."""
    simulator = BoxSimulator(
        stock_phantoms(3, 12.0, 30.0, 600, 120.0), BoxOptions(box_size=24, snr=(0.3, 0.3)), CPU, 1
    )
    truth = np.arange(60) % 3
    boxes = simulator.sample(torch.from_numpy(truth)).boxes.numpy()
    one = learner(weights=None, network=network, train=False)
    one.fit(boxes, some(truth, 3))
    found = one.classify(boxes)
    assert found is not None
    assert one.embed(boxes).shape == (60, 64)
    assert np.mean(found.probabilities[9:].argmax(axis=1) == truth[9:]) > 0.8


def test_boxes_that_do_not_fit_are_refused() -> None:
    small = np.zeros((2, 12, 12, 12), np.float32)
    with pytest.raises(LearningError) as caught:
        learner().fit(small)
    assert str(caught.value) == (
        "ProtoNet3D needs boxes of 16 voxels, these have 12; set subtomograms.box_size to 16 or more, or "
        "features.protonet.network to encoder"
    )
    trained = learner()
    trained.fit(np.zeros((2, 20, 20, 20), np.float32))
    with pytest.raises(LearningError, match="the network needs boxes of 20 voxels, these have 16"):
        trained.embed(np.zeros((2, 16, 16, 16), np.float32))


def test_a_model_of_another_voxel_size_is_refused(tmp_path: Path) -> None:
    class Sized(ChosenBoxes):
        voxel_size = 10.0

    boxes, truth = two_classes(60, size=16)
    one = learner(epochs=1)
    one.fit(Sized(boxes, np.arange(60)), some(truth, 20))  # type: ignore[arg-type]
    one.save(tmp_path / "model.safetensors")
    later = learner(str(tmp_path / "model.safetensors"))
    other = Sized(boxes, np.arange(60))  # type: ignore[arg-type]
    other.voxel_size = 13.0
    with pytest.raises(
        LearningError, match="the model was trained on boxes at 10 angstrom, these are boxes of 16 voxels"
    ):
        later.fit(other)


def test_damaged_prototypes_are_named(tmp_path: Path) -> None:
    boxes, truth = two_classes(12, size=16)
    one = learner(train=False)
    one.fit(boxes, some(truth, 3))
    one.classify(boxes)
    one.save(tmp_path / "model.safetensors")
    tensors, notes = load_weights(tmp_path / "model.safetensors")
    save_weights(tmp_path / "model.safetensors", tensors, {**notes, "classes": '["a"]'})
    with pytest.raises(FileError, match="the prototypes are damaged"):
        learner().load(tmp_path / "model.safetensors")


SET = ClassSet(voxel_size=13.33, resolution=27, count=4, first_seed=1000, largest_radius=60)
STAGE = EpisodeStage(
    boxes=4 * 4 * 50, learning_rate=(3e-3, 0.0), displacement=0.0, snr=(5.0, 5.0), conditions=1,
    tilt_limit=(60.0, 60.0), crowding=(0.0, 0.0), ways=4, shots=(1, 2), queries=2,
)  # fmt: skip
RECIPE = EpisodeRecipe("protonet3d", (SET,), STAGE, 16, (8,))


def test_an_episode_depends_on_its_seed_only() -> None:
    sets = [class_set_phantoms(SET)]
    one, other = (EpisodeBoxes(sets, STAGE, 16, CPU, 1) for _ in range(2))
    one.draw(3)
    boxes = one.draw(4)
    assert boxes.shape == (4, 4, 16, 16, 16)
    torch.testing.assert_close(boxes, other.draw(4), rtol=0, atol=0)


def test_a_recipe_trains_a_network_that_classifies(tmp_path: Path) -> None:
    network, history = train_few_shot(
        RECIPE, [class_set_phantoms(SET)], CPU, 1, tmp_path / "checkpoint.safetensors"
    )
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert network.sizes == {"backbone": 1, "widths": (8,), "view": 16}


def test_the_shipped_recipe_is_whole_and_uses_no_phantom_of_the_tables() -> None:
    recipe = episode_recipe(yaml.safe_load((RECIPES / "protonet.yaml").read_text()))
    shipped = load_model(SHIPPED_WEIGHTS, "protonet", {"FewShotNetwork": FewShotNetwork}, CPU)
    assert shipped.notes["recipe"] == repr(recipe)
    assert shipped.network.sizes["view"] == recipe.box_size
    assert SHIPPED_WEIGHTS.stat().st_size < 5_000_000
    for one in recipe.classes:
        assert one.first_seed >= 10_000
        assert one.largest_radius + recipe.episodes.displacement <= recipe.box_size / 2 * one.voxel_size


def test_wrong_recipes_are_named() -> None:
    content: dict[str, Any] = {
        "network": "x", "classes": [vars(SET)], "episodes": {"boxes": 10, "learning_rate": [1, 0], "ways": 4},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="network 'x' is unknown; give encoder or protonet3d"):
        episode_recipe(content)
    content = {**content, "network": "protonet3d", "episodes": {**content["episodes"], "ways": 9}}
    with pytest.raises(ConfigError, match="an episode needs 9 classes; give as many in each class set"):
        episode_recipe(content)
