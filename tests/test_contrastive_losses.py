"""Losses of contrastive learning against plain references; the network with its queue; the published network RB3D."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cryopipe.errors import ConfigError
from cryopipe.features.networks.contrastive_network import ContrastiveNetwork
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.rb3d import RB3D
from cryopipe.features.training.contrastive_losses import (
    balanced_codes,
    info_nce,
    nt_xent,
    swapped_prediction,
)


def rows(count: int, seed: int, width: int = 5) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def slow_nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    views = [*first, *second]
    m, losses = len(first), []
    for i in range(2 * m):
        partner = i + m if i < m else i - m
        others = [math.exp(cosine(views[i], views[k]) / temperature) for k in range(2 * m) if k != i]
        losses.append(-math.log(math.exp(cosine(views[i], views[partner]) / temperature) / sum(others)))
    return float(np.mean(losses))


def slow_info_nce(queries: np.ndarray, keys: np.ndarray, queue: np.ndarray, temperature: float) -> float:
    losses = []
    for query, key in zip(queries, keys, strict=True):
        own = math.exp(cosine(query, key) / temperature)
        others = sum(math.exp(cosine(query, old) / temperature) for old in queue)
        losses.append(-math.log(own / (own + others)))
    return float(np.mean(losses))


def slow_codes(scores: np.ndarray, sharpness: float) -> np.ndarray:
    codes = np.exp(scores / sharpness)
    for _ in range(3):
        for column in range(codes.shape[1]):
            codes[:, column] /= codes[:, column].sum()
        for row in range(codes.shape[0]):
            codes[row] /= codes[row].sum()
    return codes


def slow_swapped(
    first: np.ndarray, second: np.ndarray, prototypes: np.ndarray, temperature: float, earlier: np.ndarray
) -> float:
    def table(view: np.ndarray) -> np.ndarray:
        return np.array([[cosine(row, prototype) for prototype in prototypes] for row in view])

    total, m = 0.0, len(first)
    for own, other in ((first, second), (second, first)):
        codes = slow_codes(table(np.concatenate([own, earlier])), 0.05)[:m]
        predicted = np.exp(table(other) / temperature)
        predicted /= predicted.sum(axis=1, keepdims=True)
        total += float(np.mean(-(codes * np.log(predicted)).sum(axis=1)))
    return total / 2


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_equal_plain_references(seed: int) -> None:
    a, b, queue, prototypes = rows(4, seed), rows(4, seed + 10), rows(7, seed + 20), rows(3, seed + 30)
    x, y, q, p = (value.numpy() for value in (a, b, queue, prototypes))
    assert float(nt_xent(a, b, 0.3)) == pytest.approx(slow_nt_xent(x, y, 0.3), rel=1e-9)
    assert float(info_nce(a, b, queue, 0.2)) == pytest.approx(slow_info_nce(x, y, q, 0.2), rel=1e-9)
    expected = slow_swapped(x, y, p, 0.1, q)
    assert float(swapped_prediction(a, b, prototypes, 0.1, queue)) == pytest.approx(expected, rel=1e-9)
    expected = slow_swapped(x, y, p, 0.1, q[:0])
    assert float(swapped_prediction(a, b, prototypes, 0.1)) == pytest.approx(expected, rel=1e-9)


def test_codes_use_all_prototypes_equally_even_when_all_views_are_alike() -> None:
    scores = 0.9 + 0.02 * rows(60, 3, 4)
    scores[:, 0] += 0.09  # the nearest prototype of every view
    assert set(scores.argmax(dim=1).tolist()) == {0}
    codes = balanced_codes(scores, steps=50)
    np.testing.assert_allclose(codes.sum(dim=1), 1, rtol=1e-9)
    np.testing.assert_allclose(codes.sum(dim=0), 15, rtol=1e-3)
    # float32 scores near their largest value do not overflow
    assert torch.isfinite(balanced_codes(torch.ones(4, 3) / 1e-3)).all()


def test_losses_are_symmetric_and_do_not_depend_on_lengths() -> None:
    a, b, prototypes, queue = rows(6, 1), rows(6, 2), rows(4, 3), rows(9, 4)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert float(nt_xent(a, b, 0.2)) == pytest.approx(float(nt_xent(b, a, 0.2)))
    assert float(swapped_prediction(a, b, prototypes, 0.1)) == pytest.approx(
        float(swapped_prediction(b, a, prototypes, 0.1))
    )
    for loss in (
        lambda x, y: nt_xent(x, y, 0.2),
        lambda x, y: info_nce(x, y, queue, 0.2),
        lambda x, y: swapped_prediction(x, y, prototypes, 0.1, queue),
    ):
        assert float(loss(3 * a, b / 7)) == pytest.approx(float(loss(a, b)))
        assert float(loss(a[order], b[order])) == pytest.approx(float(loss(a, b)))


def test_losses_are_lowest_where_the_views_of_a_particle_agree() -> None:
    directions = torch.eye(5, dtype=torch.float64)
    wrong = directions.roll(1, dims=0)
    queue = -directions
    for loss in (
        lambda x, y: nt_xent(x, y, 0.2),
        lambda x, y: info_nce(x, y, queue, 0.2),
        lambda x, y: swapped_prediction(x, y, directions, 0.1),
    ):
        values = []
        for mixed in (0.0, 0.25, 0.5, 0.75, 1.0):
            views = (1 - mixed) * directions + mixed * wrong
            values.append(float(loss(directions, views)))
        assert values == sorted(values)
        assert values[-1] > values[0] + 1
    # The minimum of NT-Xent for orthogonal classes in closed form.
    expected = -math.log(math.exp(5) / (math.exp(5) + 8))
    assert float(nt_xent(directions, directions, 0.2)) == pytest.approx(expected)


def small(method: str, queue: int = 6, batch_norm: bool = False) -> ContrastiveNetwork:
    torch.manual_seed(0)
    backbone = TransferEncoder((4, 4), 8) if batch_norm else RB3D((4, 4))
    return ContrastiveNetwork(backbone, method, 3, queue, 5)


def test_the_queue_keeps_the_latest_rows_normalised() -> None:
    network = small("moco", queue=5)
    assert network.earlier is None
    values = rows(12, 1, 3).float()
    network.enqueue(values[:3])
    assert network.earlier is None
    network.enqueue(values[3:6])
    expected = nn.functional.normalize(values[[5, 1, 2, 3, 4]])
    torch.testing.assert_close(network.earlier, expected)
    network.enqueue(values)  # more than it holds
    assert {tuple(row) for row in network.queue.tolist()} == {
        tuple(row) for row in nn.functional.normalize(values[-5:]).tolist()
    }


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_momentum_encoder_follows_the_weights(batch_norm: bool) -> None:
    network = small("moco", batch_norm=batch_norm)
    names = [name for name, _ in network.named_parameters()]
    assert not any("momentum" in name for name in names)
    assert any(name.startswith("momentum_encoder.0") for name in network.state_dict())
    boxes = torch.randn(4, 1, 16, 16, 16)
    network.eval()
    torch.testing.assert_close(network(boxes), network(boxes, keys=True))
    assert not network(boxes, keys=True).requires_grad
    before = {name: value.clone() for name, value in network.momentum_encoder.named_buffers()}
    with torch.no_grad():
        for value in network.backbone.parameters():
            value += 1
    network.steps.fill_(10**9)
    network.update_momentum_encoder(0.9)
    for name, value in network.momentum_encoder.named_buffers():
        if name.startswith("0.") and name.endswith("weight"):
            torch.testing.assert_close(value, before[name] + 0.1)
    # The first steps follow faster, and running statistics are used in training too.
    network.steps.fill_(0)
    network.update_momentum_encoder(0.999)
    name = next(name for name in before if name.endswith("weight"))
    current = dict(network.backbone.named_parameters())[name.removeprefix("0.")]
    torch.testing.assert_close(
        dict(network.momentum_encoder.named_buffers())[name], current, atol=0.1, rtol=0
    )
    network.train()
    assert network.training
    assert not any(part.training for part in network.momentum_encoder.modules())


def test_rb3d_has_the_published_number_of_parameters_and_takes_any_box_of_16_voxels() -> None:
    network = RB3D()
    classifier = nn.Linear(network.feature_width, 10)
    assert network.feature_width == 256
    count = sum(value.numel() for part in (network, classifier) for value in part.parameters())
    assert count == 118_474  # published: 0.118 million
    for size in (16, 17, 28):
        assert network(torch.zeros(1, 1, size, size, size)).shape == (1, 256)
    with pytest.raises(
        ConfigError, match=r"boxes of 15 voxels are too small for rb3d; set .*box_size to at least 16"
    ):
        network(torch.zeros(1, 1, 15, 15, 15))
    with pytest.raises(ConfigError, match=r"widths 8, 7 of rb3d are odd or not positive; give even numbers"):
        RB3D((8, 7))


def test_rb3d_distinguishes_octants() -> None:
    """The mean of each octant is kept: a blob moved to another octant changes the features."""
    torch.manual_seed(0)
    network = RB3D((4, 8)).requires_grad_(False)
    boxes = torch.zeros(2, 1, 16, 16, 16)
    boxes[0, 0, 2:5, 2:5, 2:5] = 1
    boxes[1, 0, 10:13, 10:13, 10:13] = 1
    first, second = network(boxes) - network(torch.zeros(1, 1, 16, 16, 16))
    assert not torch.allclose(first, second, atol=0.1 * float(first.abs().max()))
