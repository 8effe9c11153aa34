"""affinity-VAE: a latent space arranged by affinity, unseen classes, exact resuming, model files, refusals."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from test_disca import two_classes

from cryopipe.boxes import ArrayBoxes
from cryopipe.errors import ConfigError, FileError, LearningError
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.affinity_matrix import affinity_matrix
from cryopipe.features.decoding import latent_paths
from cryopipe.features.latent_map import class_centres, cosines, interpolated, nearest_centre
from cryopipe.features.learners.affinity import AffinityLearner
from cryopipe.features.learners.affinity_options import AffinityOptions
from cryopipe.features.simulated_classes import largest_radius, scale_of, simulated_boxes
from cryopipe.files.mrc import write_volume
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

CPU = torch.device("cpu")
TINY = FeatureOptions(
    learner="affinity",
    affinity=AffinityOptions(
        channels=8,
        depth=2,
        latent_width=4,
        epochs=6,
        batch_size=16,
        learning_rate=3e-3,
        gamma=100.0,
        beta=1.0,
    ),
)


def with_options(**changes: object) -> FeatureOptions:
    return dataclasses.replace(TINY, affinity=dataclasses.replace(TINY.affinity, **changes))


def learner(options: FeatureOptions = TINY, seed: int = 1) -> AffinityLearner:
    made = create_learner("affinity", options, CPU, seed)
    assert isinstance(made, AffinityLearner)
    return made


SHAPES = {
    "rod": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)],
    "square": [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)],
    "T": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)],
    "column": [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)],
    "skew": [(0, 0, 0), (0, 0, 1), (1, 1, 1), (1, 1, 2)],
    "dot": [(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)],
}
"""Cells (z, y, x) of six shapes."""


def tetramino(name: str, size: int = 16) -> np.ndarray:
    """Return a shape of four balls about its centre of mass."""
    grid = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 3, indexing="ij"), axis=-1)
    places = np.array(SHAPES[name], float)
    places = 3.0 * (places - places.mean(axis=0))
    return np.sum([np.exp(-np.square(grid - place).sum(axis=-1) / 4) for place in places], axis=0)


def phantom_of(density: np.ndarray) -> Phantom:
    return Phantom(density.astype(np.float32), 10.0, 30.0, 80.0, "C1", 1e5, "shape")


def standardised(boxes: np.ndarray) -> np.ndarray:
    boxes = boxes - boxes.mean(axis=(1, 2, 3), keepdims=True)
    return (boxes / boxes.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)


def copies_of(shape: np.ndarray, count: int, rng: np.random.Generator, noise: float = 0.2) -> np.ndarray:
    """Noisy copies of a shape, each rotated by a multiple of 90 degrees about z."""
    odd = shape[1:, 1:, 1:]  # 15 voxels, so that quarter turns are exact
    turned = np.stack([np.rot90(odd, int(rng.integers(4)), axes=(1, 2)) for _ in range(count)])
    return standardised(turned + noise * rng.normal(size=turned.shape))


def test_a_fusion_of_two_shapes_falls_between_them() -> None:
    rng = np.random.default_rng(3)
    shapes = [tetramino(name) for name in SHAPES]
    made = learner(with_options(latent_width=6, epochs=12, batch_size=24, gamma=300.0))
    made.affinity = affinity_matrix([phantom_of(shape) for shape in shapes], align=False)
    boxes = np.concatenate([copies_of(shape, 40, rng) for shape in shapes])
    labels = np.repeat(np.arange(len(shapes)), 40)
    made.fit(boxes, labels)
    # Boxes that were not trained on: of the six shapes, and of a fusion of two.
    unseen = np.concatenate([copies_of(shape, 20, rng) for shape in shapes])
    centres = class_centres(made.embed(boxes), labels)
    found = nearest_centre(made.embed(unseen), centres)
    assert (found == np.repeat(np.arange(len(shapes)), 20)).mean() > 0.9
    names = list(SHAPES)
    parents = [names.index("column"), names.index("dot")]
    fusion = copies_of((shapes[parents[0]] + shapes[parents[1]]) / 2, 20, rng)
    near = cosines(made.embed(fusion).mean(axis=0, keepdims=True), centres)[0]
    assert set(np.argsort(near)[-2:]) == set(parents)
    assert near[parents].min() > cosines(centres, centres)[tuple(parents)]


def test_cosines_of_the_latent_codes_approach_the_affinities() -> None:
    boxes, classes = two_classes(80)
    errors = []
    for gamma in (0.0, 100.0):
        made = learner(with_options(gamma=gamma, epochs=12))
        made.affinity = np.array([[1.0, -0.5], [-0.5, 1.0]], np.float32)
        made.fit(boxes, classes)
        found = cosines(codes := made.embed(boxes), codes)
        errors.append(np.abs(found - made.affinity[classes][:, classes]).mean())
    assert errors[1] < 0.15
    assert errors[1] < 0.5 * errors[0]


def test_the_code_decodes_to_the_class_and_interpolates() -> None:
    boxes, classes = two_classes(60)
    made = learner(with_options(epochs=12, beta=0.5, gamma=20.0))
    history = made.fit(boxes, classes)
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]
    centres = class_centres(made.embed(boxes), classes)
    path = made.decode(interpolated(centres[0], centres[1], 5))
    assert path.shape == (5, 12, 12, 12)
    truth = [boxes[classes == number].mean(axis=0).ravel() for number in (0, 1)]
    found = np.corrcoef([*truth, *path.reshape(5, -1)])[:2, 2:]
    assert found[0, 0] > 0.8 > found[0, 4] + 0.2
    assert found[1, 4] > 0.8 > found[1, 0] + 0.2
    assert (np.diff(found[1] - found[0]) > 0).all()
    poses = made.poses(boxes)
    assert poses.shape == (60, 1)
    # Without poses, maps have a pose that occurred in training.
    assert poses.min() - poses.std() <= float(made.network.typical_pose) <= poses.max() + poses.std()
    np.testing.assert_allclose(
        made.decode(centres, np.repeat(made.network.typical_pose[None].numpy(), 2, axis=0)),
        path[[0, 4]],
        atol=1e-5,
    )
    assert np.abs(made.decode(centres, np.full((2, 1), 3.0)) - path[[0, 4]]).max() > 0
    *_, along = latent_paths(made, made.embed(boxes), classes + 1, poses)
    assert along.title == "Pose 1 of cluster 1"
    ends = np.quantile(poses[:, 0], [0.05, 0.95])
    assert (along.captions[0], along.captions[-1]) == (f"{ends[0]:.2f}", f"{ends[1]:.2f}")
    expected = made.decode(centres[:1].repeat(2, axis=0), ends[:, None].astype(np.float32))
    np.testing.assert_allclose(along.maps[[0, -1]], expected, atol=1e-5)


def test_boxes_of_unknown_class_are_not_trained_on() -> None:
    boxes, classes = two_classes(40)
    labels = np.where(np.arange(40) < 24, classes, -1)
    spoiled = boxes.copy()
    spoiled[24:] = np.random.default_rng(0).normal(size=spoiled[24:].shape)
    made, other = learner(), learner()
    made.fit(boxes, labels)
    other.fit(spoiled, labels)
    np.testing.assert_array_equal(made.embed(boxes[:24]), other.embed(boxes[:24]))


def test_a_killed_training_ends_in_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, classes = two_classes(40)
    options, state = with_options(copies=1, cycles=2), tmp_path / "checkpoint.safetensors"
    whole = learner(options)
    history = whole.fit(boxes, classes)
    steps, own_parts = 0, AffinityLearner._parts

    def killed(self: AffinityLearner, *arguments: object) -> object:
        nonlocal steps
        steps += 1
        if steps > 7:  # in the third epoch
            raise KeyboardInterrupt
        return own_parts(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(AffinityLearner, "_parts", killed)
        with pytest.raises(KeyboardInterrupt):
            learner(options).fit(boxes, classes, checkpoint=state)
    assert state.is_file()
    resumed = learner(options)
    again = resumed.fit(boxes, classes, checkpoint=state)
    np.testing.assert_array_equal(resumed.embed(boxes), whole.embed(boxes))
    assert again["loss"].tolist() == history["loss"].tolist()


def test_annealing_begins_with_the_reconstruction_alone() -> None:
    boxes, classes = two_classes(32)
    plain, annealed = (
        learner(with_options(cycles=cycles, batch_size=32, epochs=1, gamma=1e5)).fit(boxes, classes)
        for cycles in (0, 1)
    )
    free = learner(with_options(batch_size=32, epochs=1, gamma=0.0, beta=0.0)).fit(boxes, classes)
    assert annealed["loss"].tolist() == free["loss"].tolist()
    assert plain["loss"][0] > annealed["loss"][0]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of two structures that differ clearly, 40 angstrom per voxel."""
    folder = tmp_path_factory.mktemp("maps")
    for name in ("column", "dot"):
        write_volume(folder / f"{name}.mrc", tetramino(name, 18).astype(np.float32), 40.0)
    return folder


def test_boxes_are_placed_in_the_map_of_known_structures(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryopipe.features.simulated_classes.CROWDING", 0.0)
    options = with_options(
        maps=str(maps), boxes_per_class=60, snr=(1.0, 2.0), epochs=12, batch_size=24, beta=0.5
    )
    made = learner(options)
    blank = ArrayBoxes(np.zeros((1, 12, 12, 12), np.float32), (-60, 60), 60.0)
    voxel_size, resolution = scale_of(blank)
    phantoms = made._class_maps(blank)
    assert [phantom.name for phantom in phantoms] == ["column", "dot"]
    mine, truth = simulated_boxes(phantoms, blank, 15, (1.0, 1.0), CPU, seed=9)
    assert (mine.voxel_size, voxel_size, resolution) == (60.0, 60.0, 135.0)
    made.fit(mine)
    found = made.classify(mine)
    assert found is not None
    assert found.names == ("column", "dot")
    assert (found.probabilities.argmax(axis=1) == truth).mean() > 0.85
    assert found.unknown.mean() < 0.3
    path = tmp_path / "model.safetensors"
    made.save(path)
    again = learner(dataclasses.replace(with_options(train=False), weights=str(path)))
    again.fit(mine)
    other = again.classify(mine)
    assert other is not None
    np.testing.assert_allclose(other.probabilities, found.probabilities, atol=1e-4)
    # With labels, the labelled boxes are the examples.
    labelled = learner(options)
    labelled.class_names = ("column", "dot")
    labelled.fit(mine, truth)
    assert labelled.classify(mine) is None
    labelled.class_names = ("column", "T")
    with pytest.raises(
        ConfigError, match=r"features\.affinity\.maps: .* has no map of the class T; name each"
    ):
        labelled.fit(mine, truth)
    tensors, notes = load_weights(path)
    save_weights(path, tensors | {"known": tensors["known"][:1].clone()}, notes)
    with pytest.raises(FileError, match=r"latent codes of 2 known structures have shape \[1, "):
        learner().load(path)


def test_simulated_boxes_are_like_those_of_the_user() -> None:
    own = ArrayBoxes(np.zeros((3, 13, 13, 13), np.float32), [(-40, 40), (-50, 60), (-50, 50)], 25.0)
    phantoms = stock_phantoms(2, *scale_of(own), 500, largest_radius(13, 25.0))
    boxes, labels = simulated_boxes(phantoms, own, 4, (np.inf, np.inf), CPU, 1)
    assert boxes.shape == (8, 13, 13, 13)
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert boxes.tilt_ranges.tolist() == [[-50, 50]] * 8
    mean = np.square(boxes[:]).mean(axis=0)
    centre = [float((mean * np.indices(mean.shape)[axis]).sum() / mean.sum()) for axis in range(3)]
    assert centre == pytest.approx([6, 6, 6], abs=1.0)
    np.testing.assert_array_equal(simulated_boxes(phantoms, own, 4, (np.inf, np.inf), CPU, 1)[0][:], boxes[:])


def test_without_maps_or_labels_artificial_structures_span_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryopipe.features.learners.affinity.BUILT_IN", 3)
    boxes, _ = two_classes(20)
    made = learner(with_options(boxes_per_class=10, epochs=1))
    history = made.fit(ArrayBoxes(boxes, (-60, 60), 30.0))
    assert len(history) == 1
    assert made.classify(boxes) is None
    assert made.embed(boxes).shape == (20, 4)


def test_an_earlier_model_is_applied_without_training_and_refuses_other_boxes(tmp_path: Path) -> None:
    boxes, classes = two_classes(30)
    made, path = learner(), tmp_path / "model.safetensors"
    made.fit(ArrayBoxes(boxes, (-60, 60), 10.0), classes)
    made.save(path)
    options = dataclasses.replace(with_options(train=False), weights=str(path))
    applied = learner(options, seed=5)
    assert len(applied.fit(boxes[:4])) == 0
    np.testing.assert_allclose(applied.embed(boxes[:4]), made.embed(boxes)[:4], atol=1e-4)
    refused = r"the model was trained on boxes of 12 voxels at 10 angstrom, these are "
    with pytest.raises(LearningError, match=refused + "boxes of 14 voxels"):
        applied.embed(np.zeros((2, 14, 14, 14), np.float32))
    with pytest.raises(LearningError, match=refused + "boxes of 12 voxels at 11 angstrom"):
        learner(options).fit(ArrayBoxes(boxes, (-60, 60), 11.0))


def test_no_training_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"features\.affinity\.train is false, but features\.weights"):
        learner(with_options(train=False)).fit(two_classes(20)[0])
    with pytest.raises(LearningError, match="affinity-VAE has no weights; call fit or load first"):
        learner().decode(np.zeros((1, 4), np.float32))


def test_few_labelled_boxes_are_embedded_without_training(caplog: pytest.LogCaptureFixture) -> None:
    boxes, classes = two_classes(12)
    with caplog.at_level(logging.WARNING):
        assert len(learner().fit(boxes, np.where(np.arange(12) < 9, classes, -1))) == 0
    assert "9 boxes with a class: at least 10 are needed for training" in caplog.text
    made = learner()
    assert len(made.fit(boxes[:10], classes[:10])) == 6
    assert np.isfinite(made.embed(boxes)).all()
    assert made.embed(boxes[:0]).shape[0] == 0
