"""Training over epochs: schedule, validation, checkpoints, and files of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cryopipe.errors import FileError, LearningError
from cryopipe.features.model_file import BoxFacts, check_boxes, load_model, save_model
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.fitting import Schedule, fit_episodes, fit_network
from cryopipe.features.training.loop import Apply, Steps

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Boxes -> (n, 2); large enough to have batch statistics, small enough to train in milliseconds."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.sizes = {"width": width}
        self.layers = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.ELU(), nn.Linear(width, 2))

    def forward(self, boxes: Tensor) -> Tensor:
        values = boxes.float().flatten(1)
        return self.layers(torch.stack([values.mean(dim=1), values.std(dim=1)], dim=1))


LABELS = torch.arange(24) % 2


def boxes() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(24, 6, 6, 6)).astype(np.float32)
    values[LABELS == 1] += 0.4
    return values


def loss(apply: Apply, chosen: Tensor, indices: Tensor, draws: object) -> Tensor:
    return nn.functional.cross_entropy(apply(chosen).float(), LABELS[indices])


def made() -> tuple[Brightness, torch.optim.Optimizer]:
    torch.manual_seed(1)
    network = Brightness()
    return network, torch.optim.NAdam(network.parameters(), lr=1.0)


SCHEDULE = Schedule(epochs=6, batch_size=8, learning_rate=lambda epoch: 0.05 * 0.9**epoch)


class Killed(Exception):
    pass


def killed_after(epochs: int) -> Callable[[Apply, Tensor, Tensor, object], Tensor]:
    steps = 0

    def failing(apply: Apply, chosen: Tensor, indices: Tensor, draws: object) -> Tensor:
        nonlocal steps
        steps += 1
        if steps > 3 * epochs + 1:  # in the middle of an epoch
            raise Killed
        return loss(apply, chosen, indices, draws)

    return failing


def test_training_learns_and_follows_the_schedule() -> None:
    network, optimiser = made()
    history = fit_network(network, optimiser, BoxSource(boxes(), CPU, 1.0), loss, SCHEDULE, seed=3)
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]
    np.testing.assert_allclose(history["learning_rate"], 0.05 * 0.9 ** np.arange(6))
    assert history["iteration"].tolist() == list(range(6))


@pytest.mark.parametrize("epochs", [1, 4])
def test_a_killed_training_ends_in_the_same_weights(tmp_path: Path, epochs: int) -> None:
    whole, optimiser = made()
    source = BoxSource(boxes(), CPU, 1.0)
    expected = fit_network(whole, optimiser, source, loss, SCHEDULE, seed=3)
    state = tmp_path / "state.safetensors"
    broken, optimiser = made()
    with pytest.raises(Killed):
        fit_network(
            broken, optimiser, source, killed_after(epochs), SCHEDULE, 3, checkpoint=state, fingerprint="a"
        )
    resumed, optimiser = made()
    history = fit_network(resumed, optimiser, source, loss, SCHEDULE, 3, checkpoint=state, fingerprint="a")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert history["loss"].tolist() == expected["loss"].tolist()
    # A finished training is not repeated.
    again, optimiser = made()
    fit_network(again, optimiser, source, killed_after(-1), SCHEDULE, 3, checkpoint=state, fingerprint="a")
    assert torch.equal(again.layers[0].weight, whole.layers[0].weight)


def test_a_checkpoint_of_another_training_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, source = tmp_path / "state.safetensors", BoxSource(boxes(), CPU, 1.0)
    network, optimiser = made()
    fit_network(network, optimiser, source, loss, SCHEDULE, 4, checkpoint=state, fingerprint="other")
    network, optimiser = made()
    found = fit_network(network, optimiser, source, loss, SCHEDULE, 3, checkpoint=state, fingerprint="a")
    assert "belongs to another run; training restarts" in caplog.text.replace(f"{state}: ", "")
    expected, optimiser = made()
    history = fit_network(expected, optimiser, source, loss, SCHEDULE, 3)
    assert found["loss"].tolist() == history["loss"].tolist()


def test_the_epoch_with_the_lowest_validation_loss_is_kept() -> None:
    seen: list[Tensor] = []
    losses = iter([3.0, 1.0, 2.0, 2.0, 0.5])
    network, optimiser = made()

    def validate() -> float:
        seen.append(network.layers[0].weight.detach().clone())
        return next(losses)

    schedule = Schedule(10, 8, lambda epoch: 0.05, patience=2)
    history = fit_network(
        network, optimiser, BoxSource(boxes(), CPU, 1.0), loss, schedule, 3, validate=validate
    )
    assert history["validation_loss"].tolist() == [3, 1, 2, 2]
    assert torch.equal(network.layers[0].weight, seen[1])


def test_only_the_chosen_boxes_are_trained_on() -> None:
    used: list[int] = []

    def recorded(apply: Apply, chosen: Tensor, indices: Tensor, draws: object) -> Tensor:
        used.extend(indices.tolist())
        return loss(apply, chosen, indices, draws)

    network, optimiser = made()
    schedule, members = Schedule(2, 4, lambda epoch: 0.01), torch.arange(3, 21, 2)
    fit_network(network, optimiser, BoxSource(boxes(), CPU, 1.0), recorded, schedule, 3, members=members)
    assert sorted(used) == sorted(2 * members.tolist())


def test_episodes_resume_to_the_same_weights(tmp_path: Path) -> None:
    values, state = torch.from_numpy(boxes()), tmp_path / "state.safetensors"

    def episode(apply: Apply, generator: torch.Generator) -> Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        chosen = torch.randint(0, 24, (8,), generator=generator)
        return nn.functional.cross_entropy(apply(values[chosen]).float(), LABELS[chosen])

    ends = []
    for limits in ([100], [14, 100]):
        for allowed in limits:
            left = allowed
            network, optimiser = made()
            try:
                fit_episodes(
                    network,
                    optimiser,
                    CPU,
                    episode,
                    5,
                    SCHEDULE,
                    3,
                    checkpoint=state,
                    fingerprint=str(limits),
                )
            except Killed:
                continue
        ends.append(network.layers[0].weight)
    assert torch.equal(*ends)


def test_buffers_are_restored_after_bad_steps() -> None:
    network, optimiser = made()
    before = network.layers[1].running_mean.clone()
    steps = Steps(network, optimiser, CPU)
    steps.take(lambda apply: apply(torch.full((4, 6, 6, 6), float("nan"))).sum())
    assert steps.report().bad_steps == 1
    assert torch.equal(network.layers[1].running_mean, before)


def test_boxes_that_are_not_finite_are_named() -> None:
    values = boxes()
    values[7, 2, 2, 2] = np.nan
    for memory in (1.0, 1e-9):
        with pytest.raises(
            LearningError, match=r"the box of particle number 8 contains values that are not finite"
        ):
            list(BoxSource(values, CPU, memory).batches([torch.arange(24)]))


def test_a_model_returns_from_its_file(tmp_path: Path) -> None:
    network = Brightness(3)
    path, facts = tmp_path / "model.safetensors", BoxFacts(24, 13.33)
    save_model(path, "brightness", network, facts, {"centres": torch.ones(2, 2)}, {"classes": "a, b"})
    found = load_model(path, "brightness", {"Brightness": Brightness}, CPU)
    assert found.facts == facts
    assert found.notes["classes"] == "a, b"
    assert torch.equal(found.tensors["centres"], torch.ones(2, 2))
    assert torch.equal(found.network.layers[0].weight, network.layers[0].weight)
    with pytest.raises(FileError, match="contains 'brightness', not 'other'; give the model"):
        load_model(path, "other", {"Brightness": Brightness}, CPU)


class WithVoxelSize(np.ndarray):
    voxel_size = 10.0


@pytest.mark.parametrize("facts", [BoxFacts(8, 13.33), BoxFacts(6, 13.33), BoxFacts(8, None)])
def test_a_model_refuses_other_boxes(facts: BoxFacts) -> None:
    stack = boxes().view(WithVoxelSize)
    with pytest.raises(
        LearningError, match=r"the model was trained on boxes of . voxels.*, these are boxes of 6"
    ):
        check_boxes(facts, stack)  # type: ignore[arg-type]


@pytest.mark.parametrize("facts", [BoxFacts(), BoxFacts(6), BoxFacts(6, 10.05), BoxFacts(None, 10.0)])
def test_a_model_takes_boxes_like_its_own(facts: BoxFacts) -> None:
    check_boxes(facts, boxes().view(WithVoxelSize))  # type: ignore[arg-type]
