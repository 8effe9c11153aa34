"""Clustering of planted features: number, order, unassigned particles, posteriors, stability, duplicates."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from cryopipe import columns
from cryopipe.clustering import ClusteringOptions, cluster_particles, find_clusters
from cryopipe.clustering.calibration import agreement_temperature, calibrated_posteriors
from cryopipe.clustering.cluster_summary import cluster_summary
from cryopipe.mixtures.dimensions import leading_components
from cryopipe.mixtures.gaussian import fit_mixture, mixture_from_labels
from cryopipe.mixtures.selection import Candidate, choose_count, half_set_agreement

SIZES = (150, 60, 240)


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes in four dimensions, and their classes."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0, 0, 0, 0], [9, 0, 3, 0], [0, 8, 0, -4]])
    truth = np.repeat(np.arange(3), SIZES)
    return centres[truth] + rng.normal(size=(len(truth), 4)) * [1, 0.5, 2, 1], truth


def options(**changes: object) -> ClusteringOptions:
    return ClusteringOptions(**{"method": "mixtures", "clusters": (2, 6), "starts": 5, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", ["bic", "icl"])
def test_planted_clusters_are_found_and_numbered_by_size(criterion: str) -> None:
    features, truth = planted()
    clusters = find_clusters(features, options(criterion=criterion), seed=1)
    kept = clusters.labels > 0
    assert adjusted_rand_score(truth[kept], clusters.labels[kept]) > 0.98
    assert [int(np.bincount(truth[clusters.labels == n]).argmax()) for n in (1, 2, 3)] == [2, 0, 1]
    assert clusters.labels.max() == 3
    assert clusters.posteriors[kept].min() >= 0.5
    assert list(clusters.selection["clusters"]) == [2, 3, 4, 5, 6]


def test_members_of_gaussian_clusters_are_seldom_unassigned() -> None:
    features, _ = planted()
    assert np.mean(find_clusters(features, options(), seed=1).labels == 0) < 0.02


def test_outliers_are_unassigned() -> None:
    features, _ = planted()
    strays = 40 * np.random.default_rng(1).normal(size=(8, 4))
    clusters = find_clusters(np.concatenate([features, strays]), options(clusters=(3, 3)), seed=1)
    assert np.mean(clusters.labels[-8:] == 0) >= 0.75
    assert np.mean(clusters.labels[:-8] == 0) < 0.05


def test_particles_between_clusters_are_unassigned() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(-1.5, 1, size=(400, 2)), rng.normal(1.5, 1, size=(400, 2))])
    strict = find_clusters(features, options(clusters=(2, 2), minimum_posterior=0.95), seed=1)
    doubtful = strict.posteriors < 0.95
    assert 0.02 < doubtful.mean() < 0.5
    assert (strict.labels[doubtful] == 0).all()


def test_posteriors_are_calibrated_on_gaussians() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 3000)
    features = rng.normal(np.where(truth, 1.2, -1.2)[:, None], 1, size=(3000, 2))
    clusters = find_clusters(features, options(clusters=(2, 2), outlier_probability=0), seed=1)
    right = clusters.labels == np.where(truth == truth[clusters.labels == 1].mean().round(), 1, 2)
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        chosen = (clusters.posteriors >= low) & (clusters.posteriors < high)
        assert right[chosen].mean() == pytest.approx(clusters.posteriors[chosen].mean(), abs=0.06)


@pytest.mark.parametrize("seed", [0, 2])
def test_posteriors_from_few_particles_decrease_and_no_label_changes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], 60)
    points = torch.from_numpy(3 * np.eye(3, 6)[truth] + rng.normal(size=(180, 6)))
    mixture = fit_mixture(points, 3, 10, torch.Generator().manual_seed(0))
    temperature = agreement_temperature(mixture, points, torch.Generator().manual_seed(1))
    assert 1.2 < temperature < 5
    sure, calibrated = mixture.posteriors(points), calibrated_posteriors(mixture, points, temperature)
    labels = sure.argmax(dim=1)
    assert torch.equal(labels, calibrated.argmax(dim=1))
    own = np.array([np.bincount(truth[labels == k]).argmax() for k in range(3)])
    right = own[labels] == truth
    before, after = (one.max(dim=1).values.numpy() for one in (sure, calibrated))
    assert before.mean() > right.mean()
    assert after.mean() < before.mean() - 0.01
    assert right[after >= 0.9].mean() > right[before >= 0.9].mean()


def test_correct_posteriors_and_single_clusters_do_not_change() -> None:
    rng = np.random.default_rng(4)
    points = torch.from_numpy(rng.normal(np.repeat([-1.5, 1.5], 3000)[:, None], 1, size=(6000, 2)))
    for count in (1, 2):
        mixture = fit_mixture(points, count, 3, torch.Generator().manual_seed(0))
        assert agreement_temperature(mixture, points, torch.Generator().manual_seed(1)) < 1.05
    few = points[:30]
    mixture = fit_mixture(few, 2, 3, torch.Generator().manual_seed(0))
    assert agreement_temperature(mixture, few, torch.Generator().manual_seed(1)) == 1


def test_components_in_which_particles_hardly_differ_are_left_out() -> None:
    rng = np.random.default_rng(5)
    deviations = np.array([5, 4, 3] + [0.3] * 17)
    features = torch.from_numpy(rng.normal(size=(500, 20)) * deviations)
    assert leading_components(features, 16).shape == (500, 3)
    assert leading_components(features, 2).shape == (500, 2)
    line = torch.from_numpy(rng.normal(size=(500, 20)) * np.array([9] + [0.1] * 19))
    assert leading_components(line, 16).shape == (500, 2)
    assert leading_components(torch.ones(12, 20, dtype=torch.float64), 16).shape[0] == 12


@pytest.mark.parametrize("count", [60, 400, 1500])
def test_one_class_stays_one_cluster(count: int) -> None:
    rng = np.random.default_rng(count)
    # on a sphere, as the encoder's features are: no Gaussian fits exactly
    features = rng.normal(size=(count, 32)) * 0.8 ** np.arange(32) + 6 * np.eye(32)[0]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    assert find_clusters(features, ClusteringOptions(clusters=(1, 6)), seed=1).labels.max() == 1


def test_few_members_per_class_are_enough_for_distant_classes() -> None:
    rng = np.random.default_rng(6)
    truth = np.repeat(np.arange(5), 40)
    features = 6 * np.eye(32)[truth] + rng.normal(size=(200, 32)) * 0.9 ** np.arange(32)
    clusters = find_clusters(features, ClusteringOptions(clusters=(1, 8)), seed=1)
    assert clusters.labels.max() == 5
    kept = clusters.labels > 0
    assert adjusted_rand_score(truth[kept], clusters.labels[kept]) > 0.98


def test_same_seed_same_clusters() -> None:
    features, _ = planted()
    first, second = (find_clusters(features, options(), seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.posteriors, second.posteriors)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_particles_are_one_cluster(count: int) -> None:
    clusters = find_clusters(np.zeros((count, 5)), ClusteringOptions(), seed=0)
    assert clusters.labels.tolist() == [1] * count
    assert clusters.posteriors.tolist() == [1.0] * count


@pytest.mark.parametrize("count", [10, 13, 30])
def test_few_or_equal_features_do_not_fail(count: int) -> None:
    rng = np.random.default_rng(0)
    for features in (rng.normal(size=(count, 32)), np.ones((count, 32))):
        clusters = find_clusters(features, ClusteringOptions(), seed=0)
        assert clusters.labels.shape == (count,)
        assert np.isfinite(clusters.posteriors).all()


def test_stability_is_high_at_the_truth_and_low_beyond() -> None:
    points = torch.from_numpy(planted()[0])
    generator = torch.Generator().manual_seed(0)
    stability, information = half_set_agreement(points, 3, generator)
    assert stability > 0.97
    shares = np.array(SIZES) / sum(SIZES)
    assert information == pytest.approx(-np.sum(shares * np.log(shares)), rel=0.05)
    assert half_set_agreement(points, 6, generator)[0] < 0.9
    # Two of three clusters that all halves agree on hold less information than the three.
    assert half_set_agreement(points, 2, generator)[1] < 0.8 * information
    assert np.isnan(half_set_agreement(points[:25], 3, generator)).all()


def test_unstable_numbers_of_clusters_are_rejected() -> None:
    mixture = mixture_from_labels(torch.randn(6, 2), torch.zeros(6, dtype=torch.long))
    candidates = {
        2: Candidate(mixture, bic=30, icl=30, stability=0.9),
        3: Candidate(mixture, bic=20, icl=40, stability=0.8),
        4: Candidate(mixture, bic=10, icl=50, stability=0.1),
    }
    assert choose_count(candidates, "bic", 0.5) == 3
    assert choose_count(candidates, "icl", 0.5) == 2
    assert choose_count(candidates, "bic", 0.0) == 4
    assert choose_count({4: candidates[4]}, "bic", 0.5) == 4
    unmeasured = Candidate(mixture, bic=0, icl=0, stability=float("nan"))
    assert choose_count({**candidates, 5: unmeasured}, "bic", 0.5) == 3
    assert choose_count({4: candidates[4], 5: unmeasured}, "bic", 0.5) == 4
    assert choose_count({5: unmeasured, 6: Candidate(mixture, 1, 1, float("nan"))}, "bic", 0.5) == 5
    # If none is stable, the most stable is chosen, although another fits better.
    assert choose_count(candidates, "icl", 0.99) == max(
        candidates, key=lambda count: candidates[count].stability
    )


def test_table_of_particles_keeps_its_columns_and_gets_centres() -> None:
    features, truth = planted()
    count = len(truth)
    particles = pd.DataFrame(
        {
            columns.TOMOGRAM: "demo",
            columns.PARTICLE: [f"demo/{number}" for number in range(count)],
            **dict.fromkeys(columns.COORDINATES, 20.0 * np.arange(count)),
            columns.VOXEL_SIZE: 10.0,
            columns.DIAMETER: 100.0,
            "own": np.arange(count),
        }
    )
    names = [f"demo/{number}" for number in reversed(range(count))]
    shifts = np.zeros((count, 3))
    # the second particle of `names` is moved onto the first, with a lower score
    shifts[1] = 190.0
    scores = np.ones(count, np.float32)
    scores[1] = 0.5
    table, _ = cluster_particles(
        particles, names, features[::-1].astype(np.float32), shifts, scores, options(), seed=1
    )
    assert list(table[columns.PARTICLE]) == names
    assert list(table["own"]) == list(reversed(range(count)))
    assert table[columns.ORIGINS[0]].tolist()[:2] == [0, -190]
    assert table[columns.CLASS][1] == columns.UNASSIGNED
    assert table[columns.POSTERIOR][1] == 0
    kept = table[columns.CLASS].to_numpy() > 0
    assert adjusted_rand_score(truth[::-1][kept], table[columns.CLASS][kept]) > 0.98
    assert cluster_summary(table)["particles"].sum() == count


def test_summary_counts_every_particle_once_and_changes_with_a_member() -> None:
    table = pd.DataFrame(
        {
            columns.PARTICLE: [f"t/{i}" for i in range(6)],
            columns.CLASS: [2, 1, 1, 0, 2, 1],
            columns.POSTERIOR: [0.5, 0.6, 0.8, 0.1, 0.7, 1.0],
        }
    )
    summary = cluster_summary(table)
    assert summary["cluster"].tolist() == [1, 2, 0]
    assert summary["particles"].tolist() == [3, 2, 1]
    np.testing.assert_allclose(summary["mean_posterior"], [0.8, 0.6, 0.1])
    decided = table.assign(**{columns.CLASS_NAME: "x", columns.DECISION: "accepted"})
    assert cluster_summary(decided)["members"].tolist() == summary["members"].tolist()
    moved = cluster_summary(table.assign(**{columns.POSTERIOR: [0.5, 0.6, 0.8, 0.1, 0.7, 0.9]}))
    assert (moved["members"] == summary["members"]).tolist() == [False, True, True]


def test_no_particles_make_an_empty_table() -> None:
    names = [columns.TOMOGRAM, columns.PARTICLE, *columns.COORDINATES, columns.VOXEL_SIZE, columns.DIAMETER]
    table, _ = cluster_particles(
        pd.DataFrame({name: [] for name in names}), [], np.zeros((0, 4), np.float32), np.zeros((0, 3)),
        np.zeros(0, np.float32), ClusteringOptions(), seed=1,
    )  # fmt: skip
    assert not len(table)
    assert cluster_summary(table)["cluster"].tolist() == [0]
