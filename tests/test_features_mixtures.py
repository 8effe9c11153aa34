"""Mixtures against scikit-learn and planted truth; matching; the separation index against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from cryopipe.mixtures import gaussian as mixtures
from cryopipe.mixtures.gaussian import choose_mixture, feasible_counts, fit_mixture, mixture_from_labels
from cryopipe.mixtures.label_matching import agreement, match_labels
from cryopipe.mixtures.separation import separation_index


def planted(count: int, per_cluster: int, dimensions: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Points of `count` Gaussians with random full covariances, well apart."""
    rng = np.random.default_rng(seed)
    centres = 8 * rng.normal(size=(count, dimensions))
    parts = [c + rng.normal(size=(per_cluster, dimensions)) @ rng.normal(size=(dimensions,) * 2) * 0.6
             for c in centres]  # fmt: skip
    return torch.from_numpy(np.concatenate(parts)), np.repeat(np.arange(count), per_cluster)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_densities_agree_with_scikit_learn() -> None:
    points, labels = planted(3, 60, 4, seed=1)
    ours = mixture_from_labels(points, torch.from_numpy(labels))
    theirs = GaussianMixture(3)
    theirs.weights_, theirs.means_ = ours.weights.numpy(), ours.means.numpy()
    theirs.covariances_ = ours.covariances.numpy()
    theirs.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(theirs.covariances_))
    np.testing.assert_allclose(ours.posteriors(points), theirs.predict_proba(points.numpy()), atol=1e-9)
    assert ours.log_likelihood(points) == pytest.approx(theirs.score(points.numpy()), abs=1e-9)
    assert ours.bic(points) == pytest.approx(theirs.bic(points.numpy()), rel=1e-9)


def test_fit_is_as_likely_as_scikit_learn_s() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(m, 1.0, size=(150, 3)) for m in (0.0, 1.8, 4.0)])
    theirs = GaussianMixture(3, n_init=10, random_state=0, tol=1e-6, max_iter=500, reg_covar=1e-9).fit(points)
    ours = fit_mixture(torch.from_numpy(points), 3, 10, generator())
    assert ours.log_likelihood(torch.from_numpy(points)) >= theirs.score(points) - 0.01


@pytest.mark.parametrize("count", [2, 4, 7])
def test_number_of_planted_clusters_is_found(count: int) -> None:
    points, labels = planted(count, 150, 4, seed=count)
    mixture, scores = choose_mixture(points, range(2, 11), 5, generator())
    assert mixture.count == count
    assert min(scores, key=scores.__getitem__) == count
    found = mixture.posteriors(points).argmax(dim=1)
    assert adjusted_rand_score(labels, found.numpy()) > 0.98


def test_mixture_chosen_on_a_subset_is_refined_on_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = planted(3, 400, 3, seed=5)
    monkeypatch.setattr(mixtures, "SEARCH_POINTS", 300)
    monkeypatch.setattr(mixtures, "CHUNK", 250)
    mixture, _ = choose_mixture(points, range(2, 6), 3, generator())
    exact = mixture_from_labels(points, torch.from_numpy(labels))
    order = torch.cdist(exact.means, mixture.means).argmin(dim=1)
    torch.testing.assert_close(mixture.means[order], exact.means, atol=0.01, rtol=0)
    torch.testing.assert_close(mixture.weights[order], exact.weights, atol=1e-3, rtol=0)


def test_same_seed_same_mixture() -> None:
    points, _ = planted(3, 50, 3, seed=0)
    first, second = (choose_mixture(points, range(2, 6), 3, generator(7))[0] for _ in range(2))
    assert torch.equal(first.means, second.means)


def test_lone_and_missing_members_give_finite_components() -> None:
    points = torch.randn(6, 2, generator=generator(), dtype=torch.float64)
    mixture = mixture_from_labels(points, torch.tensor([0, 0, 0, 0, 0, 2]), 4)
    assert torch.isfinite(mixture.log_densities(points)).all()
    assert mixture.posteriors(points)[5].argmax() == 2


def test_equal_points_can_be_fitted() -> None:
    mixture = fit_mixture(torch.ones(20, 3), 2, 2, generator())
    assert torch.isfinite(mixture.log_densities(torch.ones(20, 3))).all()


def test_few_points_limit_the_number_of_clusters() -> None:
    assert feasible_counts(range(2, 21), 11) == [2, 3, 4, 5]
    assert feasible_counts(range(2, 21), 3) == [1]


def test_matching_undoes_a_permutation() -> None:
    previous = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(match_labels(np.array([2, 0, 3, 1])[previous], previous), previous)


def test_matching_numbers_new_and_lost_clusters_without_gaps() -> None:
    previous = np.array([0, 0, 0, 1, 1, 1])
    more = match_labels(np.array([2, 2, 1, 0, 0, 0]), previous)
    np.testing.assert_array_equal(more, [0, 0, 2, 1, 1, 1])
    fewer = match_labels(np.array([1, 1, 0, 0, 0, 0]), np.array([2, 2, 1, 0, 0, 0]))
    np.testing.assert_array_equal(fewer, [1, 1, 0, 0, 0, 0])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_matching_only_renames_and_never_agrees_less(pairs: list[tuple[int, int]]) -> None:
    new = np.unique([pair[0] for pair in pairs], return_inverse=True)[1]
    old = np.unique([pair[1] for pair in pairs], return_inverse=True)[1]
    matched = match_labels(new, old)
    assert adjusted_rand_score(new, matched) == pytest.approx(1.0)
    assert agreement(matched, old) >= agreement(new, old) or new.max() < old.max()
    if new.max() >= old.max():
        assert sorted(set(matched)) == list(range(new.max() + 1))


def test_separation_equals_its_definition() -> None:
    points, labels = planted(3, 40, 2, seed=8)
    x = points.numpy()
    floor = mixtures.REGULARISATION * x.var(axis=0).mean()
    means = [x[labels == i].mean(axis=0) for i in range(3)]
    inverses = [np.linalg.inv(np.cov(x[labels == i].T, bias=True) + floor * np.eye(2)) for i in range(3)]
    spread = [np.mean([(p - means[i]) @ inverses[i] @ (p - means[i]) for p in x[labels == i]])
              for i in range(3)]  # fmt: skip
    worst = []
    for i in range(3):
        ratios = []
        for j in range(3):
            if i != j:
                offset = means[i] - means[j]
                distance = offset @ inverses[i] @ offset + offset @ inverses[j] @ offset
                ratios.append((spread[i] + spread[j]) / distance)
        worst.append(max(ratios))
    assert separation_index(points, torch.from_numpy(labels)) == pytest.approx(np.mean(worst), rel=1e-9)


def test_small_clusters_do_not_seem_well_separated() -> None:
    points, labels = planted(2, 60, 4, seed=3)
    stray = torch.from_numpy(labels)
    honest = separation_index(points, stray)
    stray[:2], stray[-1] = 2, 3
    assert separation_index(points, stray) > honest


def test_separation_of_lone_members_and_single_clusters() -> None:
    points = torch.randn(9, 2, generator=generator())
    assert np.isfinite(separation_index(points, torch.tensor([0] * 8 + [1])))
    assert separation_index(points, torch.zeros(9, dtype=torch.long)) == float("inf")
