"""DISCA: separation of classes, exact resuming, non-finite steps, interruptions, few boxes."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.errors import LearningError
from cryopipe.evaluation.cluster_scores import score_clusters
from cryopipe.features import create_learner
from cryopipe.features.learners import disca as disca_module
from cryopipe.features.learners.disca import Disca
from cryopipe.features.learners.disca_options import DiscaOptions
from cryopipe.features.options import FeatureOptions
from cryopipe.features.training import fitting
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import optimiser_tensors, restore_optimiser
from cryopipe.features.training.distributed import Draws
from cryopipe.features.training.loop import (
    MAX_BAD_STEPS,
    Steps,
    categorical_hinge,
    cross_entropy,
    guarded_step,
    rotated_classification,
    smoothed_targets,
    some_rotated,
    train_epoch,
)
from cryopipe.features.training.reduced_boxes import ReducedBoxes, reduced_boxes
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.mixtures.gaussian import Mixture, fit_mixture
from cryopipe.simulation.box_simulator import BoxOptions, BoxSimulator
from cryopipe.simulation.phantoms import stock_phantoms

CPU = torch.device("cpu")
TINY = FeatureOptions(
    clusters=(2, 4),
    mixture_starts=3,
    disca=DiscaOptions(
        network="yopo", widths=(8, 8), feature_width=16, iterations=3, learning_rate=1e-3, stop_agreement=1.1,
        batch_size=16, steps=1, warm_up=5,
    ),
)  # fmt: skip

TWO = ClusteringOptions(clusters=(2, 2), minimum_posterior=0.0, outlier_probability=0.0)


def two_classes(count: int, size: int = 12, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Balls and shells in noise, normalised, and their classes."""
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    bodies = np.stack([np.exp(-((radius / 2.5) ** 2)), np.exp(-((radius - 4) ** 2))])
    bodies /= bodies.std(axis=(1, 2, 3), keepdims=True)
    classes = np.arange(count) % 2
    boxes = bodies[classes] + noise * np.random.default_rng(0).normal(size=(count, size, size, size))
    boxes -= boxes.mean(axis=(1, 2, 3), keepdims=True)
    return (boxes / boxes.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32), classes


def learner(options: FeatureOptions = TINY, seed: int = 1) -> Disca:
    made = create_learner("disca", options, CPU, seed)
    assert isinstance(made, Disca)
    return made


def without_clock(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns="seconds")


def test_two_classes_are_separated() -> None:
    boxes, classes = two_classes(80)
    disca = learner()
    history = disca.fit(boxes)
    points = torch.from_numpy(disca.embed(boxes))
    mixture = fit_mixture(points, 2, 5, torch.Generator().manual_seed(0))
    labels = mixture.posteriors(points.double()).argmax(dim=1)
    assert adjusted_rand_score(classes, labels.numpy()) > 0.95
    assert list(history["iteration"]) == [0, 1, 2, 3]
    assert history["bad_steps"].sum() == 0


def test_saved_model_embeds_the_same(tmp_path: Path) -> None:
    boxes, _ = two_classes(30)
    disca = learner()
    disca.fit(boxes)
    disca.save(tmp_path / "model.safetensors")
    other = learner(seed=9)
    other.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.embed(boxes), disca.embed(boxes))


def test_trained_model_is_applied_without_training(tmp_path: Path) -> None:
    boxes, _ = two_classes(30)
    disca = learner()
    disca.fit(boxes)
    disca.save(tmp_path / "model.safetensors")
    options = FeatureOptions(
        weights=str(tmp_path / "model.safetensors"), disca=DiscaOptions(network="yopo", train=False)
    )
    applied = learner(options)
    assert len(applied.fit(boxes[:7])) == 0
    np.testing.assert_allclose(applied.embed(boxes[:7]), disca.embed(boxes)[:7], atol=1e-2)


def test_same_seed_same_features() -> None:
    boxes, _ = two_classes(24)
    first, second = learner(), learner()
    pd.testing.assert_frame_equal(without_clock(first.fit(boxes)), without_clock(second.fit(boxes)))
    np.testing.assert_array_equal(first.embed(boxes), second.embed(boxes))


def test_long_trainings_run_compiled_and_log_their_speed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    boxes, _ = two_classes(40)
    plain = learner()
    history, batches = plain.fit(boxes), []

    def compile_network(network: torch.nn.Module, shape: tuple[int, ...], device: torch.device) -> object:
        assert (shape, device) == ((16, 1, 12, 12, 12), CPU)

        def call(volumes: torch.Tensor) -> torch.Tensor:
            batches.append(len(volumes))
            return network(volumes)

        return call

    monkeypatch.setattr(
        disca_module, "worth_compiling", lambda device, count: count == 40 * TINY.disca.iterations
    )
    monkeypatch.setattr(disca_module, "compile_network", compile_network)
    caplog.set_level("INFO")
    fast = learner()
    pd.testing.assert_frame_equal(without_clock(fast.fit(boxes)), without_clock(history))
    # The batches of each of three epochs have 16, 16 and 8 boxes; the last one has another shape.
    assert batches == [16, 16] * 3
    assert re.search(r"training: 120 boxes at \S+ boxes/s", caplog.text)
    assert re.search(r"embedding: 160 boxes at \S+ boxes/s", caplog.text)


@pytest.mark.slow
def test_disca_learns_from_random_weights() -> None:
    """Three phantoms at SNR 1: a narrow network that has seen nothing else separates them, and finds their number."""
    phantoms = stock_phantoms(3, 20.0, 40.0, first_seed=500, largest_radius=140)
    simulation = BoxOptions(box_size=16, snr=(1.0, 1.0), displacement=7)
    truth = torch.arange(600) % 3
    boxes = BoxSimulator(phantoms, simulation, CPU, seed=1).sample(truth).boxes.numpy()
    options = FeatureOptions(
        clusters=(2, 8),
        weights="random",
        disca=DiscaOptions(
            network="yopo", widths=(8, 12, 16, 20, 24, 28), feature_width=128, noise=False, loss="cross_entropy",
            learning_rate=1e-3, warm_up=100, iterations=2, steps=50,
        ),
    )  # fmt: skip
    everything = ClusteringOptions(minimum_posterior=0.0, outlier_probability=0.0)
    untrained = find_clusters(learner(replace(options, clusters=(3, 3))).embed(boxes), everything, 1)
    assert score_clusters(truth.numpy().astype(str), untrained.labels).accuracy < 0.7
    disca = learner(options)
    history = disca.fit(boxes)
    found = find_clusters(disca.embed(boxes), everything, 1)
    assert score_clusters(truth.numpy().astype(str), found.labels).accuracy >= 0.9, history.to_string()
    assert history["separation"].notna().all()


class Killed(Exception):
    """Simulates the end of the process."""


def test_interrupted_run_gives_the_result_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, _ = two_classes(24)
    unbroken = learner()
    history = unbroken.fit(boxes)
    write, written = disca_module.write_checkpoint, []

    def write_and_die(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        written.append(1)
        if len(written) == 2:
            raise Killed

    monkeypatch.setattr(disca_module, "write_checkpoint", write_and_die)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        learner().fit(boxes, checkpoint=checkpoint)
    resumed = learner()
    resumed_history = resumed.fit(boxes, checkpoint=checkpoint)
    assert len(written) == len(history)
    pd.testing.assert_frame_equal(without_clock(resumed_history), without_clock(history))
    np.testing.assert_array_equal(resumed.embed(boxes), unbroken.embed(boxes))


def test_training_killed_in_the_warm_up_resumes_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    boxes, _ = two_classes(24)
    unbroken = learner()
    history = unbroken.fit(boxes)
    write, written = fitting.write_checkpoint, []

    def write_and_die(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        written.append(1)
        if len(written) == 2:
            raise Killed

    monkeypatch.setattr(fitting, "write_checkpoint", write_and_die)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        learner().fit(boxes, checkpoint=checkpoint)
    resumed = learner()
    resumed_history = resumed.fit(boxes, checkpoint=checkpoint)
    # Five steps are three epochs of two batches: the resumed warm-up has one epoch left.
    assert len(written) == 3
    assert "training restarts" not in caplog.text
    pd.testing.assert_frame_equal(without_clock(resumed_history), without_clock(history))
    np.testing.assert_array_equal(resumed.embed(boxes), unbroken.embed(boxes))


@pytest.mark.parametrize(("steps", "copies", "expected"), [(1, 1, 3), (1, 2, 6), (8, 2, 9)])
def test_an_iteration_has_a_floor_of_steps(
    steps: int, copies: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, _ = two_classes(40)
    options = replace(TINY, disca=replace(TINY.disca, steps=steps, copies=copies, iterations=1, warm_up=0))
    taken = []
    take = Steps.take
    monkeypatch.setattr(Steps, "take", lambda self, loss: (taken.append(1), take(self, loss)))
    first = learner(options)
    first.fit(boxes)
    assert len(taken) == expected
    taken.clear()
    first.fit(boxes)  # its weights are trained ones now
    assert len(taken) == 3 * copies


def test_training_ends_early_only_after_unchanged_labels_in_a_row() -> None:
    boxes, _ = two_classes(40)
    options = replace(
        TINY, clusters=(2, 2), disca=replace(TINY.disca, iterations=9, stop_agreement=0.99, steps=6)
    )
    agreements = learner(options).fit(boxes)["agreement"].tolist()
    assert len(agreements) < 10
    assert min(agreements[-3:]) >= 0.99
    assert all(min(agreements[i : i + 3]) < 0.99 for i in range(len(agreements) - 3))


def test_rotated_and_original_boxes_are_mixed() -> None:
    boxes = torch.randn(400, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    for fraction in (0.0, 0.5, 1.0):
        shown = some_rotated(boxes, Draws(torch.Generator().manual_seed(1), 400), fraction)
        kept = (shown == boxes).flatten(1).all(dim=1).float().mean()
        assert float(kept) == pytest.approx(fraction, abs=0.08)


def test_boxes_are_reduced_for_the_network_and_the_model_knows_it(tmp_path: Path) -> None:
    boxes, classes = two_classes(40)
    options = replace(TINY, disca=replace(TINY.disca, reduced_size=8, iterations=1))
    disca = learner(options)
    disca.fit(boxes)
    disca.save(tmp_path / "model.safetensors")
    weights = str(tmp_path / "model.safetensors")
    applied = learner(FeatureOptions(weights=weights, disca=DiscaOptions(train=False)))
    np.testing.assert_array_equal(applied.embed(boxes), disca.embed(boxes))
    assert adjusted_rand_score(classes, find_clusters(applied.embed(boxes), TWO, 1).labels) > 0.95
    with pytest.raises(
        LearningError, match="the model was trained on boxes of 12 voxels, these are boxes of 8 voxels"
    ):
        applied.embed(boxes[:, 2:10, 2:10, 2:10])


def test_reduced_boxes_keep_extent_and_scale() -> None:
    axis = np.arange(24) - 12
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    box = np.exp(-((x - 3) ** 2 + y**2 + (z + 6) ** 2) / 18).astype(np.float32)[None]
    reduced = ReducedBoxes(box, 16)
    assert reduced.shape == (1, 16, 16, 16)
    values = reduced[np.array([0])][0]
    assert abs(float(values.mean())) < 1e-5
    assert float(values.std()) == pytest.approx(1, abs=1e-4)
    # 3 and -6 voxels from the centre are 2 and -4 larger ones.
    assert np.unravel_index(values.argmax(), values.shape) == (4, 8, 10)
    assert reduced_boxes(box, None) is box
    assert reduced_boxes(box, 24) is box


PROGRAM = """
import sys, torch, numpy as np
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_disca import learner, two_classes
torch.set_num_threads(1)
disca = learner()
disca.fit(two_classes(24)[0], checkpoint=Path(sys.argv[1]))
np.save(sys.argv[2], disca.embed(two_classes(24)[0]))
"""


@pytest.mark.slow
def test_training_resumes_after_its_process_is_killed(tmp_path: Path) -> None:
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    checkpoint, embedded = tmp_path / "checkpoint.safetensors", tmp_path / "features.npy"
    command = [sys.executable, "-c", program, str(checkpoint), str(embedded)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    subprocess.run(command, check=True, timeout=120)
    whole = tmp_path / "whole.npy"
    subprocess.run([*command[:3], str(tmp_path / "other.safetensors"), str(whole)], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(embedded), np.load(whole))


def test_labels_of_the_kept_iteration_follow_from_its_mixture(tmp_path: Path) -> None:
    boxes, _ = two_classes(40)
    disca = learner()
    disca.fit(boxes, checkpoint=tmp_path / "checkpoint.safetensors")
    tensors = load_weights(tmp_path / "checkpoint.safetensors")[0]
    assert {"labels", "head.weight", "best.mean", "optimiser.rates"} < set(tensors)
    assert any(name.startswith("optimiser.0.") for name in tensors)
    mixture = Mixture(*(tensors[f"best.mixture.{name}"] for name in ("weights", "means", "covariances")))
    points = torch.from_numpy(disca.embed(boxes)).double()
    assert torch.equal(mixture.posteriors(points).argmax(dim=1), tensors["best.labels"])


def test_checkpoint_of_another_run_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes, _ = two_classes(24)
    checkpoint = tmp_path / "checkpoint.safetensors"
    learner(seed=1).fit(boxes, checkpoint=checkpoint)
    history = learner(seed=2).fit(boxes, checkpoint=checkpoint)
    assert "the checkpoint belongs to another run; training restarts" in caplog.text
    assert len(history) == TINY.disca.iterations + 1
    (tmp_path / "bad.safetensors").write_text("torn")
    learner().fit(boxes, checkpoint=tmp_path / "bad.safetensors")
    assert "bad.safetensors: is not a safetensors file" in caplog.text


def test_damaged_checkpoint_is_reported_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes, _ = two_classes(24)
    checkpoint = tmp_path / "checkpoint.safetensors"
    expected = learner(seed=1)
    history = expected.fit(boxes, checkpoint=checkpoint)
    tensors, metadata = load_weights(checkpoint)
    del tensors["best.labels"]
    save_weights(checkpoint, tensors, metadata)
    again = learner(seed=1)
    repeated = again.fit(boxes, checkpoint=checkpoint)
    pd.testing.assert_frame_equal(repeated.drop(columns="seconds"), history.drop(columns="seconds"))
    assert (
        "the checkpoint is damaged (missing tensors: 1, such as best.labels); training restarts"
        in caplog.text
    )
    np.testing.assert_array_equal(again.embed(boxes), expected.embed(boxes))


def test_checkpoint_from_other_initial_weights_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes, _ = two_classes(24)
    options = replace(
        TINY, disca=replace(TINY.disca, iterations=1), weights=str(tmp_path / "start.safetensors")
    )
    for seed in (1, 2):
        # The same path with other weights.
        learner(seed=seed).save(tmp_path / "start.safetensors")
        learner(options).fit(boxes, checkpoint=tmp_path / "checkpoint.safetensors")
    assert caplog.text.count("the checkpoint belongs to another run; training restarts") == 1


@pytest.mark.parametrize("count", [0, 1, 9, 10, 17])
def test_few_boxes_work(count: int) -> None:
    boxes, _ = two_classes(20)
    disca = learner()
    disca.fit(boxes[:count])
    features = disca.embed(boxes[:count])
    assert len(features) == count
    assert np.isfinite(features).all()


def test_step_without_finite_loss_changes_nothing_but_the_rate() -> None:
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.NAdam(network.parameters(), lr=0.1)
    before = network.weight.detach().clone()
    assert guarded_step(network(torch.tensor([float("nan"), 1.0])).sum(), network, optimiser) is None
    assert torch.equal(network.weight, before)
    assert optimiser.param_groups[0]["lr"] == 0.05
    loss = network(torch.ones(2)).sum()
    assert guarded_step(loss, network, optimiser) == pytest.approx(float(loss.detach()))
    assert not torch.equal(network.weight, before)


def test_step_with_a_finite_loss_but_no_finite_gradient_is_bad() -> None:
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.NAdam(network.parameters(), lr=0.1)
    before = network.weight.detach().clone()
    loss = (0 * network.weight).abs().sqrt().sum()
    assert float(loss.detach()) == 0
    assert guarded_step(loss, network, optimiser) is None
    assert torch.equal(network.weight, before)
    assert optimiser.param_groups[0]["lr"] == 0.05


class Faulty(torch.nn.Module):
    """A network with running statistics that yields NaN in its first `faults` steps."""

    def __init__(self, faults: int) -> None:
        super().__init__()
        self.faults, self.norm = faults, torch.nn.BatchNorm1d(1)
        self.layer = torch.nn.Linear(1, 2)

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        values = boxes.mean(dim=(2, 3, 4))
        self.faults -= 1
        return self.layer(self.norm(values * float("nan") if self.faults >= 0 else values))


def epoch(faults: int, count: int) -> tuple[Faulty, torch.optim.Optimizer, object]:
    network = Faulty(faults)
    optimiser = torch.optim.NAdam(network.parameters(), lr=0.1)
    source = BoxSource(two_classes(count, 8)[0], CPU, 1.0)
    targets = smoothed_targets(torch.arange(count) % 2, 2, 0.1)
    generator = torch.Generator().manual_seed(0)
    loss = rotated_classification(targets, cross_entropy)
    return network, optimiser, train_epoch(network, optimiser, source, loss, 2, generator)


def test_bad_steps_are_skipped_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    network, optimiser, report = epoch(faults=2, count=12)
    assert caplog.text.count("non-finite loss or gradient: step skipped, learning rate reduced to") == 2
    assert report.bad_steps == 2  # type: ignore[attr-defined]
    assert np.isfinite(report.loss)  # type: ignore[attr-defined]
    assert optimiser.param_groups[0]["lr"] == 0.025
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_training_stops_after_consecutive_bad_steps() -> None:
    with pytest.raises(
        LearningError, match="10 consecutive training steps had a non-finite loss or gradient; lower"
    ):
        epoch(faults=MAX_BAD_STEPS, count=40)


def test_label_smoothing_acts_on_both_losses() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    labels = torch.tensor([0])
    chances = logits.softmax(dim=1)[0]
    sharp, smooth = (smoothed_targets(labels, 3, s) for s in (0.0, 0.3))
    torch.testing.assert_close(smooth, torch.tensor([[0.8, 0.1, 0.1]]))
    torch.testing.assert_close(categorical_hinge(logits, sharp), 1 + chances[1] - chances[0])
    expected = (
        1 + max(0.2 * chances[0], 0.9 * chances[1]) - (0.8 * chances[0] + 0.1 * chances[1] + 0.1 * chances[2])
    )
    torch.testing.assert_close(categorical_hinge(logits, smooth), expected)
    torch.testing.assert_close(cross_entropy(logits, smooth), -(smooth[0] * chances.log()).sum())


def test_optimiser_survives_as_tensors() -> None:
    def made() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.NAdam(layer.parameters(), lr=0.01)

    def step(layer: torch.nn.Linear, optimiser: torch.optim.Optimizer) -> None:
        guarded_step(layer(torch.ones(3)).square().sum(), layer, optimiser)

    layer, optimiser = made()
    step(layer, optimiser)
    other, restored = made()
    step(other, restored)
    fresh = torch.optim.NAdam(other.parameters(), lr=9.0)
    restore_optimiser(fresh, optimiser_tensors(optimiser))
    step(layer, optimiser)
    step(other, fresh)
    assert torch.equal(layer.weight, other.weight)
