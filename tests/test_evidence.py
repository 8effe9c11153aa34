"""What decoys say about classes, against truth."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from aligned_sets import box_set, chain_map
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from benchmarks.evidence_cases import cases_of, planted_case
from benchmarks.evidence_protocol import Outcome
from benchmarks.evidence_tables import figures_of, measure, section
from cryopipe import columns
from cryopipe.averaging import AveragingOptions
from cryopipe.averaging.verdicts import describe_clusters, judge, withhold_resolutions
from cryopipe.evidence.assessment import CLASSES, FEWEST_DECOYS, assess_classes, supports_of
from cryopipe.evidence.densities import OUTSIDE, decoy_density, noise_fraction
from cryopipe.evidence.likeness import CHANCE, compare_with_decoys, preference_p
from cryopipe.evidence.null_resolution import average_decoys, decoy_groups, null_resolution
from cryopipe.evidence.purity import purity_of_class, two_groups_by_features
from cryopipe.evidence.q_values import q_values
from cryopipe.files.box_stacks import BoxStack, BoxWriter
from cryopipe.files.cluster_averages import RESOLUTION, RESOLUTION_05, ClusterAverage
from cryopipe.particles import pick_table, pose_columns
from cryopipe.volume.wedge import wedge_mask
from tests.test_verdicts import GOOD, SUPPORTED

VOXEL, BOX = 10.0, 20
OPTIONS = AveragingOptions(
    initial_models=1, initial_iterations=4, refinement_iterations=3, initial_resolution=50.0, max_shift=15.0
)


def stack_of(path: Path, boxes: np.ndarray, first: int = 1) -> tuple[BoxStack, pd.DataFrame]:
    """A stack of boxes and their table, far from each other."""
    places = np.array([[100.0 * (i % 10), 100.0 * (i // 10), first] for i in range(len(boxes))])
    table = pick_table("a", "a.mrc", places, VOXEL, np.full(len(boxes), 5.0), np.full(len(boxes), 130.0))
    table[columns.PARTICLE] = [f"a/{first + i}" for i in range(len(boxes))]
    with BoxWriter(path, boxes.shape[-1], VOXEL, (-60, 60, 0), "a") as writer:
        writer.append(boxes, table[columns.PARTICLE].tolist())
    return BoxStack([path]), table


def noise_boxes(count: int, seed: int, blob: float = 1.0) -> np.ndarray:
    """Boxes of noise with a ball in the middle, as picked noise has."""
    radius = np.sqrt(((np.indices((BOX,) * 3) - BOX // 2) ** 2).sum(axis=0))
    ball = blob * np.exp(-(radius**2) / 18)
    boxes = np.random.default_rng(seed).normal(0, 1, (count, BOX, BOX, BOX)) + ball
    wedge = wedge_mask(BOX, (-60, 60)).numpy()
    return np.stack([np.fft.ifftn(np.fft.fftn(box) * wedge).real for box in boxes]).astype(np.float32)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    p = [0.001, 0.04, 0.03, math.nan, 0.5]
    np.testing.assert_allclose(q_values(p), [0.004, 0.16 / 3, 0.16 / 3, math.nan, 0.5])
    assert q_values([]).shape == (0,)


def test_uniform_p_values_are_seldom_accepted() -> None:
    rng = np.random.default_rng(0)
    runs = [q_values(rng.random(6)).min() < 0.05 for _ in range(2000)]
    assert np.mean(runs) == pytest.approx(0.05, abs=0.015)


def test_local_false_discovery_rates_are_calibrated() -> None:
    """Noise as the decoys, and a species that overlaps it: the rates are the fractions of noise among like particles."""
    rng = np.random.default_rng(1)
    noise, real = rng.normal(0, 1, (600, 8)), rng.normal(0, 1, (300, 8))
    real[:, 0] += 3.0
    decoys = rng.normal(0, 1, (300, 8)).astype(np.float32)
    features = np.concatenate([noise, real]).astype(np.float32)
    found = decoy_density(features, decoys, np.ones(900, np.int64))
    assert found.noise_fraction == pytest.approx(2 / 3, abs=0.12)
    is_noise = np.arange(900) < 600
    for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 1.01)):
        mine = (found.false_discovery >= low) & (found.false_discovery < high)
        assert mine.sum() > 20
        assert found.false_discovery[mine].mean() == pytest.approx(is_noise[mine].mean(), abs=0.1)


def test_noise_alone_is_noise() -> None:
    stated = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        features, decoys = (rng.normal(size=(n, 16)).astype(np.float32) for n in (60, 100))
        stated.append(decoy_density(features, decoys, np.ones(60, int)).noise_fraction)
    assert np.mean(stated) > 0.9


@pytest.mark.parametrize("noise", [0.2, 0.6, 1.0])
def test_the_fraction_of_noise_is_right_on_average_also_if_all_is_noise(noise: float) -> None:
    rng = np.random.default_rng(4)
    usual = rng.binomial(300, 0.5 * noise, 500), rng.binomial(100, 0.5, 500)
    found = [noise_fraction(a, 300, b, 100) for a, b in zip(*usual, strict=True)]
    assert np.mean(found) == pytest.approx(noise, abs=0.03)
    assert max(found) <= 1


def test_decoys_are_counted_in_the_class_around_them() -> None:
    rng = np.random.default_rng(3)
    classes = np.repeat([1, 2], 100)
    features = rng.normal(0, 1, (200, 5)) + 8.0 * (classes == 2)[:, None]
    decoys = rng.normal(0, 1, (50, 5)) + 8.0 * (np.arange(50) < 5)[:, None]
    found = decoy_density(features.astype(np.float32), decoys.astype(np.float32), classes)
    expected = np.where(np.arange(50) < 5, 2, 1)
    assert (found.classes_of_decoys == expected).mean() > 0.85
    assert set(found.classes_of_decoys[found.classes_of_decoys != expected]) <= {OUTSIDE}
    # decoys that are like no particle are in no class, also if there is only one
    far = decoy_density(features[:100].astype(np.float32), (decoys + 20).astype(np.float32), classes[:100])
    assert (far.classes_of_decoys == OUTSIDE).all()


def test_a_preference_no_better_than_tolerated_is_accepted_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(5)
    shift = math.sqrt(2) * norm.ppf(CHANCE)
    p = []
    for _ in range(1500):
        a, b = rng.normal(shift, 1, 40), rng.normal(0, 1, 40)
        p.append(preference_p(float((a[:, None] > b[None]).mean()), 40, 40))
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)
    assert preference_p(0.98, 40, 40) < 1e-4
    # the table of docs/evidence.md
    for decoys, needed in ((100, (0.83, 0.75, 0.72, 0.69, 0.68)), (20, (0.86, 0.80, 0.77, 0.75, 0.75))):
        for particles, least in zip((10, 25, 50, 100, 200), needed, strict=True):
            assert (
                preference_p(least - 0.01, particles, decoys)
                > 0.01
                > preference_p(least + 0.01, particles, decoys)
            )
    assert preference_p(math.nan, 40, 40) == 1.0


def curves(correlation: np.ndarray, particles: int, group: int = 1) -> pd.DataFrame:
    shells = np.arange(len(correlation))
    return pd.DataFrame(
        {
            "group": group,
            "particles": particles,
            "shell": shells,
            "frequency": shells / (2 * (len(shells) - 1) * VOXEL),
            "correlation": correlation,
        }
    )


def test_the_null_of_resolution_is_that_of_as_many_decoys() -> None:
    """Two half-maps of n noisy copies of a signal: the correlation is n s / (1 + n s)."""
    shells = np.arange(17)
    signal = 0.02 * np.exp(-shells / 2.0)

    def of(n: int) -> np.ndarray:
        return n * signal / (1 + n * signal)

    table = pd.concat([curves(of(100), 100), curves(of(300), 300, 2)])
    for n in (40, 100, 1000):
        found = null_resolution(table, n)
        assert found is not None
        np.testing.assert_allclose(found.highest, of(n), rtol=1e-9)
        np.testing.assert_allclose(found.lowest, of(n), rtol=1e-9)
        assert found.averages == 2
    resolutions = [null_resolution(table, n).finest for n in (100, 1000)]  # type: ignore[union-attr]
    assert resolutions[1] < resolutions[0]
    assert null_resolution(table, 1000, finest=200.0).finest == 200.0  # type: ignore[union-attr]
    assert null_resolution(table.iloc[:0], 100) is None


def test_decoys_are_averaged_all_together_and_in_groups_by_features() -> None:
    rng = np.random.default_rng(6)
    features = np.concatenate([rng.normal(0, 1, (70, 6)), rng.normal(9, 1, (60, 6))]).astype(np.float32)
    everyone, *groups = decoy_groups(features, 1)
    assert len(everyone) == 130
    assert sorted(np.concatenate(groups)) == list(range(130))
    assert all(len(set(group < 70)) == 1 for group in groups)
    assert decoy_groups(features[:9], 1) == []


def test_averages_of_decoys_reach_a_resolution_and_their_curves_are_kept(tmp_path: Path) -> None:
    boxes, table = stack_of(tmp_path / "a.h5", noise_boxes(30, 1, blob=1.5))
    features = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    found = average_decoys(boxes, table, features, OPTIONS, 1)
    assert found["group"].unique().tolist() == [1]
    first = found["correlation"].iloc[1:3]
    assert (first > 0.5).all()  # the ball of the filter is in both half-maps
    null = null_resolution(found, 30)
    assert null is not None
    assert 20 < null.finest < 130


def aligned(
    path: Path, boxes: np.ndarray, rotations: Rotation, shifts: np.ndarray
) -> tuple[BoxStack, pd.DataFrame]:
    """Boxes with known poses: cut at their places, the particle at `shifts` from the middle."""
    stack, table = stack_of(path, boxes)
    known = pose_columns(rotations, shifts * VOXEL)
    halves = {columns.HALF_SET: np.arange(len(table)) % 2 + 1, columns.ALIGNMENT_KEPT: 1}
    return stack, table.assign(**known, **halves)


def test_particles_fit_the_map_of_the_others_better_than_decoys_and_decoys_do_not(tmp_path: Path) -> None:
    made = box_set(30, BOX, noise=0.5, seed=1)
    _, table = stack_of(tmp_path / "a.h5", made.boxes / made.boxes.std())
    _, decoys = stack_of(tmp_path / "b.h5", noise_boxes(80, 2), first=101)
    both = BoxStack([tmp_path / "a.h5", tmp_path / "b.h5"])
    halves = {columns.HALF_SET: np.arange(30) % 2 + 1}
    truth = made.truth.numpy().astype(np.float32)
    average = ClusterAverage(truth, VOXEL, particles=table.assign(**halves), half_maps=(truth, truth))
    found = compare_with_decoys(average, both, decoys, OPTIONS, 1)
    assert found.preference > 0.95
    assert found.p < 0.001
    noise = decoys.iloc[40:70].assign(**halves)
    same = compare_with_decoys(
        dataclasses.replace(average, particles=noise), both, decoys.iloc[:40], OPTIONS, 1
    )
    assert 0.3 < same.preference < 0.7
    assert same.p > 0.05


def classes_of_both(folder: Path) -> tuple[dict[int, ClusterAverage], BoxStack, pd.DataFrame, pd.DataFrame]:
    """Twenty-four particles (1) and as many picks of noise (2) with their averages, and 100 decoys."""
    made, truth = box_set(24, BOX, noise=0.8, seed=1), box_set(1, BOX, noise=0.5, seed=1).truth.numpy()
    noise = noise_boxes(124, 2)
    boxes = np.concatenate([made.boxes / made.boxes.std(), noise[:24] / noise.std()])
    _, table = stack_of(folder / "a.h5", boxes)
    _, decoys = stack_of(folder / "b.h5", noise[24:] / noise.std(), first=101)
    halves = {columns.HALF_SET: np.arange(48) % 2 + 1, columns.ALIGNMENT_KEPT: 1}
    table = table.assign(**halves, **{columns.CLASS: np.repeat([1, 2], 24)})
    table = table.assign(
        **pose_columns(Rotation.concatenate([made.rotations, made.rotations]), np.zeros((48, 3)))
    )
    # half-maps of noise are averages of its own boxes
    maps = {1: (truth, truth), 2: (boxes[24::2].mean(axis=0), boxes[25::2].mean(axis=0))}
    averages = {
        number: ClusterAverage(
            halves[0], VOXEL, particles=table[table[columns.CLASS] == number], half_maps=halves
        )
        for number, halves in maps.items()
    }
    return averages, BoxStack([folder / "a.h5", folder / "b.h5"]), table, decoys


def test_a_class_of_few_particles_is_significant_and_one_of_noise_is_not(tmp_path: Path) -> None:
    averages, boxes, table, decoys = classes_of_both(tmp_path)
    rng = np.random.default_rng(2)
    features = rng.normal(size=(48, 6)) + 3.0 * (np.arange(48) < 24)[:, None]
    others = rng.normal(size=(100, 6)).astype(np.float32)
    found = assess_classes(
        averages, (table, features.astype(np.float32)), (decoys, others), boxes, pd.DataFrame(), OPTIONS, 1
    )
    real, noise = found.classes["p"]
    assert real < 0.001
    assert noise > 0.05
    rates = found.particles[columns.FALSE_DISCOVERY].to_numpy()
    assert rates[:24].mean() < 0.1
    assert (rates[24:] == 1).all()
    facts = {1: GOOD, 2: GOOD}
    assert [judge(GOOD, one).word for one in supports_of(facts, found.classes).values()] == [
        "particle",
        "noise",
    ]
    # too few decoys: only their number is stated
    few = FEWEST_DECOYS - 1
    found = assess_classes(
        averages, (table, features), (decoys[:few], others[:few]), boxes, pd.DataFrame(), OPTIONS, 1
    )
    assert found.classes["all_decoys"].tolist() == [few, few]
    assert found.classes["p"].isna().all()
    assert len(found.particles) == len(found.bands) == 0
    support = supports_of(facts, found.classes)[1]
    assert math.isnan(support.q)
    assert judge(GOOD, support).word == "too few"


def test_two_groups_are_cut_where_the_features_part() -> None:
    features = np.concatenate([np.zeros((30, 3)), np.ones((70, 3))]) + np.random.default_rng(7).normal(
        0, 0.1, (100, 3)
    )
    group = two_groups_by_features(features.astype(np.float32))
    assert len({*group[:30]}) == len({*group[30:]}) == 1
    assert group[0] != group[99]


@pytest.mark.parametrize("mixed", [False, True])
def test_a_mixture_is_suspected_and_one_species_is_not(tmp_path: Path, mixed: bool) -> None:
    rng = np.random.default_rng(8)
    made = box_set(80, BOX, noise=0.5, seed=3, largest_shift=0.0)
    boxes = made.boxes.copy()
    other = np.arange(80) < 32
    if mixed:
        mirrored = [
            chain_map(BOX, made.rotations[i] * Rotation.from_euler("z", 60, degrees=True)) for i in range(80)
        ]
        wedge = wedge_mask(BOX, (-60, 60)).numpy()
        for i in np.flatnonzero(other):
            volume = mirrored[i] + rng.normal(0, 0.5, mirrored[i].shape)
            boxes[i] = np.fft.ifftn(np.fft.fftn(volume) * wedge).real
    features = rng.normal(0, 1, (80, 4)) + 6.0 * other[:, None]
    stack, table = aligned(tmp_path / "a.h5", boxes, made.rotations, np.zeros((80, 3)))
    found = purity_of_class(table, features.astype(np.float32), stack, OPTIONS, 1)
    assert found.mixture == mixed
    if mixed:
        assert found.larger_group == pytest.approx(48 / 80)
        assert found.ratio > 1.5
    else:
        assert 0.6 < found.ratio < 1.4
        assert found.larger_group == 1.0


def test_a_contrast_that_differs_is_no_mixture(tmp_path: Path) -> None:
    made = box_set(60, BOX, noise=0.4, seed=4, largest_shift=0.0)
    strong = np.arange(60) < 30
    boxes = made.boxes * np.where(strong, 1.6, 1.0)[:, None, None, None].astype(np.float32)
    features = np.random.default_rng(9).normal(0, 1, (60, 4)) + 6.0 * strong[:, None]
    stack, table = aligned(tmp_path / "a.h5", boxes, made.rotations, np.zeros((60, 3)))
    found = purity_of_class(table, features.astype(np.float32), stack, OPTIONS, 1)
    assert not found.mixture


def assessed(**values: object) -> pd.DataFrame:
    plain = dict.fromkeys(CLASSES, 0.0) | {
        "cluster": 1,
        "p": 0.001,
        "finest_decoy": 60.0,
        "larger_group": 1.0,
    }
    rows = [
        plain | {"cluster": number} | {key: value[number - 1] for key, value in values.items()}
        for number in (1, 2, 3)
    ]  # type: ignore[index]
    return pd.DataFrame(rows)


def test_classes_of_another_form_have_no_q_value_but_count_as_tests() -> None:
    facts = {1: GOOD, 2: dataclasses.replace(GOOD, at_rim=0.3), 3: dataclasses.replace(GOOD, kept=4)}
    supports = supports_of(facts, assessed(p=[0.01, 0.001, 0.001]))
    assert supports[1].q == pytest.approx(0.03)
    assert math.isnan(supports[2].q)
    assert math.isnan(supports[3].q)
    assert supports_of(facts, pd.DataFrame(columns=list(CLASSES))) == {}


def test_only_what_may_be_particles_has_a_resolution() -> None:
    facts = {1: GOOD, 2: dataclasses.replace(GOOD, at_rim=0.3), 3: GOOD}
    supports = {
        1: SUPPORTED,
        2: dataclasses.replace(SUPPORTED, q=math.nan),
        3: dataclasses.replace(SUPPORTED, q=0.4),
    }
    table = describe_clusters(facts, supports)
    assert table["verdict"].tolist() == ["particle", "membrane or filament", "noise"]
    assert table["resolution"].notna().tolist() == [True, False, False]
    assert {"p", "q", "purity"} <= set(table)
    figures = {RESOLUTION: GOOD.resolution, RESOLUTION_05: 35.0, "cryopipeParticles": 200}
    averages = {number: ClusterAverage(np.zeros((4, 4, 4), np.float32), VOXEL, figures) for number in facts}
    shown = withhold_resolutions(averages, table)
    assert [math.isfinite(shown[number].resolution) for number in facts] == [True, False, False]
    assert RESOLUTION_05 not in shown[3].figures
    assert shown[3].figures["cryopipeParticles"] == 200
    assert withhold_resolutions(averages, describe_clusters(facts)) == averages


def test_without_decoys_nothing_changes() -> None:
    assert "q" not in describe_clusters({1: GOOD})
    assert judge(GOOD).word == "particle"


def outcome() -> Outcome:
    classes = pd.DataFrame(
        {"q": [0.01, 0.02, 0.4], "true_fraction": [0.9, 0.1, 0.8], "resolution": [30.0, 40.0, math.nan]}
    ).assign(verdict=["particle", "mixture suspected", "noise"])
    particles = pd.DataFrame(
        {columns.FALSE_DISCOVERY: [0.0, 0.5, 1.0, 0.5], "true": [True, False, False, True]}
    )
    planted = pd.DataFrame({"mass": [500.0, 50.0], "copies": 20, "picked": [18, 2], "found": [True, False]})
    return Outcome(classes, particles, planted, {"averages": 3.0, "decoys: averages": 1.0})


def test_the_tables_of_the_benchmark_count_false_and_true_discoveries() -> None:
    case = planted_case([500.0, 50.0], 20, 0.7, (64, 64, 32))
    row = figures_of(case, 1, outcome())
    counts = {"classes": 3, "true": 2, "accepted": 2, "accepted_true": 1, "resolutions": 1, "particles": 1}
    assert {name: row[name] for name in counts} == counts
    assert row["stated"] == row["noise"] == 0.5
    text = section(pd.DataFrame([row, row]), "a machine")
    assert "| molecules in noise | 2 | 6 | 4 | 4 | 2 | 2 | 2 | 0.50 / 0.50 | 33% |" in text
    assert "| mass, kDa | 20 copies, contrast 0.7 |" in text
    assert "| 50 | 0 / 2 |\n| 500 | 2 / 2 |" in text


def test_a_benchmark_continues_with_the_runs_that_are_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        "benchmarks.evidence_tables.run_case", lambda case, *_: made.append(case) or outcome()
    )
    assert len(measure(tmp_path, "reduced", -1)) == 0
    runs = measure(tmp_path, "reduced")
    assert len(runs) == len(made) == len(cases_of("reduced")) == 18
    pd.testing.assert_frame_equal(measure(tmp_path, "reduced"), runs)
    assert len(made) == 18
    assert runs["case"].value_counts().to_dict() == {"molecules in noise": 9} | dict.fromkeys(
        ("noise", "gold and ice", "membranes"), 3
    )


def test_a_benchmark_has_every_mass_with_every_number_of_copies_and_contrast() -> None:
    planted = [case for case, _ in cases_of("full") if case.copies]
    assert len(planted) == 60
    assert len({(case.masses, case.copies, case.contrast) for case in planted}) == 3 * 4 * 2
