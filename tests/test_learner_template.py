"""Template matching as a learner: scores, classes, poses, model files, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.boxes import ArrayBoxes
from cryopipe.columns import TEMPLATE_ANGLES, TEMPLATE_ORIGINS, TEMPLATE_SCORE
from cryopipe.errors import ConfigError, FileError, LearningError
from cryopipe.features import FeatureOptions, create_learner, learn_features
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.learners.template import TemplateMatching
from cryopipe.features.learners.template_options import TemplateOptions
from cryopipe.files.mrc import write_volume
from cryopipe.simulation.box_simulator import BoxOptions, BoxSimulator, SimulatedBoxes
from cryopipe.simulation.phantoms import Phantom, stock_phantoms
from cryopipe.volume.geometry import angular_distance, rotation_from_relion_angles

CPU = torch.device("cpu")
VOXEL = 20.0
QUICK = FeatureOptions(
    learner="template",
    centre=False,
    template=TemplateOptions(angular_step=30, resolution=50, max_shift=20, defocus=5),
)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return stock_phantoms(3, VOXEL, 45.0, 705, 110)


@pytest.fixture(scope="module")
def simulated(phantoms: list[Phantom]) -> SimulatedBoxes:
    options = BoxOptions(box_size=16, snr=(0.5, 0.5), crowding=0.0, displacement=15.0, tilt_step=6)
    return BoxSimulator(phantoms, options, CPU, 1).sample(torch.arange(3).repeat_interleave(8))


def known(boxes: torch.Tensor | NDArray[np.float32]) -> ArrayBoxes:
    return ArrayBoxes(np.asarray(boxes, np.float32), (-60, 60), VOXEL)


def learner_of(options: FeatureOptions = QUICK) -> TemplateMatching:
    made = create_learner("template", options, CPU, 1)
    assert isinstance(made, TemplateMatching)
    return made


@pytest.fixture(scope="module")
def maps(phantoms: list[Phantom], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a directory of maps in other units and with a margin."""
    folder = tmp_path_factory.mktemp("maps")
    for one in phantoms:
        write_volume(folder / f"{one.name}.mrc", np.pad(one.density, 3) * 7 + 2, VOXEL)
    return str(folder)


def with_maps(maps: str) -> FeatureOptions:
    return replace(QUICK, template=replace(QUICK.template, maps=maps))


def test_particles_have_their_map(simulated: SimulatedBoxes, phantoms: list[Phantom], maps: str) -> None:
    boxes, truth = known(simulated.boxes), simulated.labels.numpy()
    learned = learn_features(learner_of(with_maps(maps)), boxes, with_maps(maps))
    names = sorted(path.stem for path in Path(maps).iterdir())
    assert learned.features.shape == (24, 3)
    assert np.isfinite(learned.features).all()
    assert np.abs(learned.features).max() <= 1
    classes = learned.classes
    assert classes is not None
    assert list(classes.names) == names
    order = np.array([names.index(one.name) for one in phantoms])
    best = classes.probabilities.argmax(axis=1)
    assert (learned.features.argmax(axis=1) == best).all()
    assert (best == order[truth]).mean() > 0.9
    np.testing.assert_allclose(classes.probabilities.sum(axis=1), 1)
    assert np.median(classes.unknown) < 0.01
    np.testing.assert_allclose(classes.columns[TEMPLATE_SCORE], learned.features.max(axis=1), atol=1e-6)


def test_columns_are_relion_s_angles_and_origins(phantoms: list[Phantom]) -> None:
    """An asymmetric phantom, without noise: its pose is found within the step of the search."""
    one = [phantom for phantom in stock_phantoms(12, VOXEL, 45.0, 705, 110) if phantom.symmetry == "C1"][:1]
    options = BoxOptions(box_size=16, snr=(20.0, 20.0), crowding=0.0, displacement=15.0, tilt_step=6)
    made = BoxSimulator(one, options, CPU, 3).sample(12)
    fine = replace(QUICK, template=replace(QUICK.template, angular_step=20.0))
    learner, boxes = learner_of(fine), known(made.boxes)
    learner.use(one, boxes)
    classes = learner.classify(boxes)
    assert classes is not None
    found = rotation_from_relion_angles(np.stack([classes.columns[name] for name in TEMPLATE_ANGLES], axis=1))
    errors = angular_distance(found, Rotation.from_matrix(made.rotations.numpy()))
    assert np.median(errors) < 25
    origins = np.stack([classes.columns[name] for name in TEMPLATE_ORIGINS], axis=1)
    assert np.median(np.linalg.norm(origins + made.shifts.numpy(), axis=1)) < VOXEL


def test_boxes_of_noise_belong_to_no_map(phantoms: list[Phantom]) -> None:
    noise = np.random.default_rng(0).normal(size=(20, 16, 16, 16)).astype(np.float32)
    learner, boxes = learner_of(), known(noise)
    learner.use(phantoms, boxes)
    classes = learner.classify(boxes)
    assert classes is not None
    assert classes.unknown.min() > 0.5


def test_features_depend_on_the_box_alone_and_survive_the_file(
    simulated: SimulatedBoxes, phantoms: list[Phantom], tmp_path: Path
) -> None:
    made, boxes = learner_of(), known(simulated.boxes)
    made.use(phantoms, boxes)
    features = made.embed(boxes)
    made.save(tmp_path / "model.safetensors")
    options = replace(QUICK, weights=str(tmp_path / "model.safetensors"))
    applied = learner_of(options)
    assert len(applied.fit(known(simulated.boxes[:5]))) == 0
    np.testing.assert_allclose(applied.embed(known(simulated.boxes[3:5])), features[3:5], atol=1e-5)
    assert applied.names == made.names
    refused = r"the model was trained on boxes of 16 voxels at 20 angstrom, these are "
    with pytest.raises(LearningError, match=refused + "boxes of 18 voxels"):
        applied.embed(known(np.zeros((2, 18, 18, 18), np.float32)))
    with pytest.raises(FileError, match="contains 'template', not 'radial statistics'"):
        create_learner("radial", QUICK, CPU, 1).load(tmp_path / "model.safetensors")


def test_columns_survive_the_file_of_features(simulated: SimulatedBoxes, phantoms: list[Phantom]) -> None:
    learner, boxes = learner_of(), known(simulated.boxes)
    learner.use(phantoms, boxes)
    classes = learner.classify(boxes)
    assert classes is not None
    again = ClassProbabilities.from_arrays(classes.arrays())
    assert again is not None
    assert set(again.columns) == {TEMPLATE_SCORE, *TEMPLATE_ANGLES, *TEMPLATE_ORIGINS}
    chosen = np.arange(24) % 2 == 0
    np.testing.assert_array_equal(
        again.of(chosen).columns[TEMPLATE_SCORE], classes.columns[TEMPLATE_SCORE][chosen]
    )


def test_labels_of_the_user_are_not_named_after_maps(
    simulated: SimulatedBoxes, phantoms: list[Phantom]
) -> None:
    learner, boxes = learner_of(), known(simulated.boxes)
    learner.use(phantoms, boxes)
    learner.class_names = ("ribosome", "other")
    assert learner.classify(boxes) is None


def test_no_boxes_and_few_boxes_work(phantoms: list[Phantom]) -> None:
    for count in (0, 1):
        learner, boxes = learner_of(), known(np.ones((count, 16, 16, 16), np.float32))
        learner.use(phantoms, boxes)
        assert learner.embed(boxes).shape == (count, 3)
        assert np.isfinite(learner.embed(boxes)).all()


def test_what_is_missing_is_said(phantoms: list[Phantom]) -> None:
    boxes = known(np.zeros((2, 16, 16, 16), np.float32))
    with pytest.raises(ConfigError, match=r"features\.template\.maps is blank; give a directory"):
        learner_of().fit(boxes)
    with pytest.raises(LearningError, match="there are no templates; call fit or load first"):
        learner_of().embed(boxes)
    with pytest.raises(LearningError, match="the voxel size of the boxes is unknown"):
        learner_of().use(phantoms, boxes[:])
    with pytest.raises(
        LearningError, match="does not fit into boxes of 8 voxels of 20 angstrom; remove the map"
    ):
        learner_of().use(phantoms, known(np.zeros((2, 8, 8, 8), np.float32)))
    without = ArrayBoxes(boxes[:], (-60, 60), VOXEL)
    del without.tilt_ranges
    with pytest.raises(LearningError, match="the tilt ranges of the boxes are unknown"):
        learner_of().use(phantoms, without)


def test_boxes_with_nan_are_refused_by_name(phantoms: list[Phantom]) -> None:
    values = np.zeros((3, 16, 16, 16), np.float32)
    learner = learner_of()
    learner.use(phantoms, known(values))
    values = values.copy()
    values[1, 0, 0, 0] = np.nan
    with pytest.raises(
        LearningError, match="the box of particle number 2 contains values that are not finite"
    ):
        learner.embed(known(values))
