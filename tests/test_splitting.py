"""Splitting of features into clusters: two groups, many, rare ones, and none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.mixtures.gaussian import Mixture
from cryopipe.mixtures.pooled import pooled_mixture
from cryopipe.mixtures.splitting import SAMPLE, SplitRules, split_recursively
from cryopipe.mixtures.two_groups import _maximise, divide, separation, whitened

RULES = SplitRules(valley=0.65, stability=0.8, smallest=10, components=16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def groups(*sizes: int, distance: float, width: int = 6, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Points of equal groups about random centres, stretched along random axes; and the groups."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.normal(size=(len(sizes), width))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    stretch = rng.normal(size=(width, width)) * 0.3 + np.eye(width)
    return torch.from_numpy((centres[truth] + rng.normal(size=(len(truth), width))) @ stretch), truth


def test_gain_is_the_likelihood_ratio_of_two_gaussians_to_one() -> None:
    points, _ = groups(60, 40, distance=3)
    white = whitened(points)
    start = torch.zeros(1, 1, 100, dtype=torch.bool)
    start[..., 60:] = True
    gains, memberships = _maximise(white[None], start)
    second = memberships[0, 0].numpy()
    weight = second.mean()
    x = white.numpy()
    means = [(1 - second) @ x / (1 - second).sum(), second @ x / second.sum()]
    within = x.T @ x / 100 - weight * (1 - weight) * np.outer(means[1] - means[0], means[1] - means[0])
    two = np.logaddexp(
        np.log(1 - weight) + multivariate_normal(means[0], within).logpdf(x),
        np.log(weight) + multivariate_normal(means[1], within).logpdf(x),
    ).sum()
    one = multivariate_normal(np.zeros(6), np.eye(6)).logpdf(x).sum()
    assert float(gains[0, 0]) == pytest.approx(two - one, rel=1e-3)


def test_two_groups_are_divided_with_strong_evidence() -> None:
    points, truth = groups(120, 80, distance=4)
    found = divide(points, generator())
    assert adjusted_rand_score(truth, found.second.numpy()) > 0.95
    assert found.excess > 8
    judged = separation(points, found.second, generator())
    assert judged.valley < 0.4
    assert judged.stability > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_one_elongated_group_has_no_evidence(seed: int) -> None:
    points, _ = groups(200, distance=0, seed=seed)
    found = divide(points, generator(seed))
    assert found.excess < 4
    assert separation(points, found.second, generator()).stability < 0.8


def test_heavy_tails_alone_are_not_split() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 5)) / np.sqrt(rng.chisquare(4, 300) / 4)[:, None]
    assert (
        find_clusters(points, ClusteringOptions(method="splits", outlier_probability=0), seed=1).labels.max()
        == 1
    )


def test_a_skewed_group_is_merged_again() -> None:
    points = np.random.default_rng(2).gamma(4.0, size=(300, 4))
    assert (
        find_clusters(points, ClusteringOptions(method="splits", outlier_probability=0), seed=1).labels.max()
        == 1
    )


def test_rare_and_many_classes_are_found() -> None:
    sizes = (200, 60, 30, 20, 12, *[25] * 8)
    points, truth = groups(*sizes, distance=9, width=10, seed=3)
    found = find_clusters(points.numpy(), ClusteringOptions(method="splits", outlier_probability=0), seed=1)
    assert found.labels.max() in (len(sizes) - 1, len(sizes))
    assert adjusted_rand_score(truth, found.labels) > 0.95


def test_limits_of_the_number_of_clusters_are_kept() -> None:
    points, _ = groups(60, 60, 60, 60, distance=6)
    for limits, expected in (((1, 99), 4), ((1, 3), 3), ((6, 7), 6)):
        found = find_clusters(points.numpy(), ClusteringOptions(method="splits", clusters=limits), seed=1)
        assert found.labels.max() == expected


def test_more_points_than_the_sample_are_divided_alike() -> None:
    points, truth = groups(3 * SAMPLE, SAMPLE, distance=6, width=4)
    labels = split_recursively(points, RULES, 1, 2, generator()).numpy()
    assert adjusted_rand_score(truth, labels) > 0.93


def test_pooled_covariances_do_not_drift_from_the_right_classes() -> None:
    points, truth = groups(300, 25, 25, distance=3.2, width=16, seed=5)
    mixture = pooled_mixture(points, torch.from_numpy(truth))
    assert torch.equal(mixture.covariances[0], mixture.covariances[2])
    assert np.mean(mixture.posteriors(points).argmax(dim=1).numpy() == truth) > 0.9


def test_pooled_mixture_of_one_group_is_its_gaussian() -> None:
    points, _ = groups(500, distance=0)
    mixture: Mixture = pooled_mixture(points, torch.zeros(500, dtype=torch.long))
    torch.testing.assert_close(mixture.means[0], points.mean(dim=0))
    variances = points.var(dim=0, correction=0)
    torch.testing.assert_close(mixture.covariances[0].diagonal(), variances, rtol=1e-4, atol=1e-5)


def test_same_seed_gives_the_same_clusters() -> None:
    points, _ = groups(80, 50, 30, distance=4)
    first, second = (
        find_clusters(points.numpy(), ClusteringOptions(method="splits"), seed=3) for _ in range(2)
    )
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.posteriors, second.posteriors)


def test_history_ends_at_the_number_found() -> None:
    points, _ = groups(80, 50, 30, distance=6)
    found = find_clusters(points.numpy(), ClusteringOptions(method="splits"), seed=3)
    assert found.selection["clusters"].iloc[0] == 3
    assert found.selection["valley"].iloc[0] < 0.65
