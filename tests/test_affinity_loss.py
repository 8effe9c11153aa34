"""Loss of affinity-VAE: each term by hand, their scaling, annealing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cryopipe.features.networks.affinity_vae import AffinityVae
from cryopipe.features.training.affinity_loss import (
    LossParts,
    affinity_error,
    annealing,
    divergence_from_prior,
    reconstruction_error,
)


def test_the_terms_are_sums_over_voxels_dimensions_and_pairs() -> None:
    boxes = torch.zeros(2, 3, 3, 3)
    restored = boxes.clone()
    restored[0] += 2.0
    assert float(reconstruction_error(restored, boxes)) == pytest.approx(4 * 27 / 2)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0, 1)).sum(dim=1).mean()
    assert float(divergence_from_prior(mean, log_variance)) == pytest.approx(float(expected), rel=1e-5)
    affinity = torch.tensor([[1.0, 0.3], [0.3, 1.0]])
    latents = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    # cosines 0, sqrt(1/2), sqrt(1/2) against 0.3, 1 and 0.3
    pairs = 0.3 + abs(1 - math.sqrt(0.5)) + abs(0.3 - math.sqrt(0.5))
    assert float(affinity_error(latents, torch.tensor([0, 1, 0]), affinity)) == pytest.approx(
        (0.3 + (1 - math.sqrt(0.5)) + (math.sqrt(0.5) - 0.3)) / 3
    )
    assert float(affinity_error(3 * latents, torch.tensor([0, 1, 0]), affinity)) == pytest.approx(pairs / 3)


def test_boxes_of_unknown_class_have_no_affinity() -> None:
    affinity = torch.eye(2)
    latents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert float(affinity_error(latents, torch.tensor([0, 1, -1]), affinity)) == 0
    assert float(affinity_error(latents, torch.tensor([0, -1, 0]), affinity)) == pytest.approx(2 / 3)
    assert float(affinity_error(latents, torch.tensor([-1, -1, -1]), affinity)) == 0


def test_the_weights_are_the_published_ones_and_relate_to_the_means_of_the_public_code() -> None:
    parts = LossParts(torch.tensor(100.0), torch.tensor(6.0), torch.tensor(3.0))
    assert float(parts.weighted_sum(5.0, 8.0, 50)) == pytest.approx((100 + 5 * 6 + 8 * 3) / 50)
    count = 12
    latents, labels = torch.randn(count, 4), torch.arange(count) % 3
    affinity = torch.eye(3)
    directions = torch.nn.functional.normalize(latents, dim=1)
    first, second = np.triu_indices(count, 1)
    differences = (affinity[labels[first], labels[second]] - (directions @ directions.T)[first, second]).abs()
    expected = float(differences.mean()) * (count - 1) / 2
    assert float(affinity_error(latents, labels, affinity)) == pytest.approx(expected, rel=1e-5)


def test_annealing_rises_in_the_first_half_of_every_cycle() -> None:
    factors = [annealing(step, 20, 2) for step in range(20)]
    assert factors[:5] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert factors[5:10] == [1] * 5
    assert factors[10:] == pytest.approx(factors[:10])
    assert annealing(7, 20, 0) == annealing(25, 20, 2) == 1


@pytest.mark.parametrize(("size", "pose"), [(12, 1), (15, 3), (13, 0)])
def test_the_network_restores_any_box_size(size: int, pose: int) -> None:
    network = AffinityVae(size, (4, 6, 8), 5, pose)
    coded = network(torch.randn(3, 1, size, size, size), torch.randn(3, 5))
    assert coded.restored.shape == (3, 1, size, size, size)
    assert coded.mean.shape == coded.log_variance.shape == (3, 5)
    assert coded.pose.shape == (3, pose)


def test_the_code_is_drawn_from_the_latent_distribution() -> None:
    network = AffinityVae(8, (4, 6), 3, 1).eval()
    boxes = torch.randn(2, 1, 8, 8, 8)
    mean, log_variance, pose = network.encode(boxes)
    noise = torch.randn(2, 3)
    expected = network.decode(mean + noise * (0.5 * log_variance).exp(), pose)
    torch.testing.assert_close(network(boxes, noise).restored, expected)
    torch.testing.assert_close(network(boxes, torch.zeros(2, 3)).restored, network.decode(mean, pose))
    assert not torch.allclose(expected, network.decode(mean, pose), atol=1e-4)
