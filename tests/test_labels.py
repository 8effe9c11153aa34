"""The user's labels: their file, the picks they belong to, and the classes of all particles that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_workflow import ONCE, make_dataset, per_tomogram, planned, snakemake

from cryopipe import columns
from cryopipe.averaging.mergers import merged_particles
from cryopipe.clustering import ClusteringOptions, cluster_particles
from cryopipe.clustering.cluster_summary import cluster_summary
from cryopipe.errors import FileError
from cryopipe.features import FeatureOptions, create_learner, learn_features
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.prototypes import classify_by_prototypes, prototypes_of, unknown_probability
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.features import read_features
from cryopipe.files.labels import read_labels
from cryopipe.files.star import read_particles, write_particles
from cryopipe.particle_labels import ParticleLabels, check_labels, labels_of_boxes, match_labels
from cryopipe.particles import pick_table

CPU = torch.device("cpu")


def picks(tomogram: str = "TS_01", count: int = 6) -> pd.DataFrame:
    """Picks 20 voxels apart along x, 100 angstrom wide."""
    places = np.stack([20.0 * np.arange(count) + 10, np.full(count, 30.0), np.full(count, 5.0)], axis=1)
    return pick_table(tomogram, f"{tomogram}.mrc", places, 10.0, np.ones(count), np.full(count, 100.0))


def named(labels: dict[int, str], tomogram: str = "TS_01") -> pd.DataFrame:
    return pd.DataFrame(
        {columns.PARTICLE: [f"{tomogram}/{n}" for n in labels], columns.LABEL: list(labels.values())}
    )


FOUR = {1: "ribosome", 2: "ribosome", 4: "ferritin", 6: "ferritin"}


def write(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".star":
        write_particles(path, table)
    else:
        table.to_csv(path, sep="," if path.suffix == ".csv" else "\t", index=False)
    return path


@pytest.mark.parametrize("suffix", [".star", ".tsv", ".csv"])
def test_a_file_of_every_form_is_read(tmp_path: Path, suffix: str) -> None:
    table = named({**FOUR, 5: "None"})
    found = read_labels(write(tmp_path / f"labels{suffix}", table))
    assert found[columns.PARTICLE].tolist() == ["TS_01/1", "TS_01/2", "TS_01/4", "TS_01/6"]
    assert found[columns.LABEL].tolist() == ["ribosome", "ribosome", "ferritin", "ferritin"]


def test_names_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "labels.star", named({1: "007", 2: "007", 3: "1", 4: "1"})))
    assert match_labels(labels, picks(), "labels.star").names == ("007", "1")


WRONG: dict[str, tuple[pd.DataFrame, str]] = {
    "misspelt": (
        named(FOUR).rename(columns={columns.LABEL: "cryopipeLable"}),
        "has no column cryopipeLabel; rename cryopipeLable to cryopipeLabel",
    ),
    "no label column": (
        named(FOUR).drop(columns=columns.LABEL),
        "has no column cryopipeLabel; add it, with the name of each particle's class",
    ),
    "no particles": (
        named(FOUR).drop(columns=columns.PARTICLE),
        "does not say which particles are labelled; add rlnTomoParticleName, or rlnTomoName and rlnCoordinateX, "
        "rlnCoordinateY, rlnCoordinateZ",
    ),
    "no labels": (named({1: "", 2: "?"}), "has no labelled particles; fill in the column cryopipeLabel"),
    "one class": (
        named({1: "ribosome", 2: "ribosome"}),
        "has only one class, 'ribosome'; label particles of at least two classes, for example what you look for and "
        "what you do not",
    ),
    "one example": (
        named({1: "ribosome", 2: "ribosome", 3: "TRiC"}),
        "class 'TRiC' has a single example; label 2 or more of each class",
    ),
    "two spellings": (
        named({1: "Ribosome", 2: "ribosome", 3: "TRiC", 4: "TRiC"}),
        "has the classes 'Ribosome' and 'ribosome'; write the names of classes in one way",
    ),
    "the name of no class": (
        named({**FOUR, 3: "none of these", 5: "none of these"}),
        "has a class 'none of these', the name of the particles of no class; rename it",
    ),
    "twice": (
        pd.concat([named(FOUR), named({1: "ferritin"})]),
        "'TS_01/1' is labelled twice; give each particle one row",
    ),
    "no number": (
        named(FOUR).assign(
            rlnTomoName="TS_01", rlnCoordinateX=["1", "2", "x", "4"], rlnCoordinateY=1.0, rlnCoordinateZ=1.0
        ),
        "rlnCoordinateX of labelled particle 3 is 'x', not a number; correct it",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_faults_of_the_file_are_one_line(tmp_path: Path, fault: str) -> None:
    table, message = WRONG[fault]
    path = write(tmp_path / "labels.tsv", table)
    with pytest.raises(FileError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_and_a_ragged_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file; correct the path"):
        read_labels(tmp_path / "absent.csv")
    (tmp_path / "ragged.csv").write_text("rlnTomoParticleName,cryopipeLabel\na/1\n")
    with pytest.raises(
        FileError, match=r"line 2 has 1 values for 2 columns; separate the values of a .csv by commas"
    ):
        read_labels(tmp_path / "ragged.csv")


def test_labels_belong_to_picks_by_name() -> None:
    labels = match_labels(named(FOUR), picks(), "labels.star")
    assert labels.names == ("ferritin", "ribosome")
    assert labels.numbers.tolist() == [1, 1, -1, 0, -1, 0]
    unknown = named({**FOUR, 17: "ferritin"})
    with pytest.raises(FileError) as caught:
        match_labels(unknown, picks(), "labels.star")
    assert str(caught.value).startswith(
        "labels.star: particle 'TS_01/17' is not among the picks with boxes (1 of 5 are not); use names from results/subtomograms"
    )


@pytest.mark.parametrize("unit", ["voxels", "angstrom"])
def test_labels_belong_to_the_nearest_pick_within_the_radius(
    unit: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A pick has a radius of 5 voxels; positions win over names, which belong to an earlier picking."""
    offsets = {1: 4.9, 2: -4.9, 4: 0.0, 6: 3.0, 3: 5.1}
    table = named({number: FOUR.get(number, "ribosome") for number in offsets})
    table[columns.PARTICLE] = [f"TS_01/{number + 10}" for number in offsets]
    names = columns.COORDINATES
    scale = 1.0
    if unit == "angstrom":
        names, scale = tuple(f"cryopipeCoordinate{axis}Angst" for axis in "XYZ"), 10.0
    table[columns.TOMOGRAM] = "TS_01"
    places = [(scale * (20 * (n - 1) + 10 + d), scale * 30, scale * 5) for n, d in offsets.items()]
    for axis, name in enumerate(names):
        table[name] = [place[axis] for place in places]
    labels = match_labels(table, picks(), "labels.star")
    assert labels.numbers.tolist() == [1, 1, -1, 0, -1, 0]
    assert (
        "1 of 5 labelled positions have no pick within the particle's radius and are not used" in caplog.text
    )
    with pytest.raises(FileError, match="class 'ferritin': 1 of its labelled particles is among the picks"):
        match_labels(table[table.index != 2], picks(), "labels.star")
    beside = pd.concat([table, table.iloc[[0]].assign(**{names[0]: scale * 12})], ignore_index=True)
    with pytest.raises(
        FileError, match="two labelled positions belong to the pick 'TS_01/1'; remove one of them"
    ):
        match_labels(beside, picks(), "labels.star")


def test_the_check_names_tomograms_and_picks_that_do_not_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.star", named(FOUR))
    assert check_labels(path, ["TS_01"]).to_dict("list") == {
        "class": ["ferritin", "ribosome"],
        "examples": [2, 2],
    }
    with pytest.raises(
        FileError, match="tomogram 'TS_01', which is not in the tomogram table; use the table's names: b"
    ):
        check_labels(path, ["b"])
    write_particles(tmp_path / "TS_01.star", picks(count=4))
    with pytest.raises(FileError, match="particle 'TS_01/6' is not among the picks with boxes"):
        check_labels(path, ["TS_01"], tmp_path)
    with pytest.raises(FileError, match="particle 'TS_01/6' is not among the picks"):
        labels_of_boxes(path, [tmp_path / "TS_01.star"], ["TS_01/4", "TS_01/1", "TS_01/2", "TS_01/3"])


def clouds(
    rng: np.random.Generator, counts: list[int], distance: float = 8.0
) -> tuple[np.ndarray, np.ndarray]:
    """Particles of classes with means at the given distance from each other in 12 dimensions."""
    means = distance / np.sqrt(2) * np.eye(len(counts), 12)
    truth = np.repeat(np.arange(len(counts)), counts)
    return (means[truth] + rng.normal(size=(len(truth), 12))).astype(np.float32), truth


def some_labels(truth: np.ndarray, classes: int, shots: int) -> ParticleLabels:
    numbers = np.full(len(truth), -1)
    for number in range(classes):
        numbers[np.flatnonzero(truth == number)[:shots]] = number
    return ParticleLabels(tuple("abcdef"[:classes]), numbers)


@pytest.mark.parametrize("shots", [2, 3, 5])
def test_prototypes_classify_and_keep_a_class_without_examples_apart(shots: int) -> None:
    for seed in range(5):
        features, truth = clouds(np.random.default_rng(seed), [150, 50, 100])
        found = classify_by_prototypes(features, some_labels(truth, 2, shots))
        chosen = np.where(found.unknown > 0.5, 2, found.probabilities.argmax(axis=1))
        assert np.mean(chosen == truth) > 0.95
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_without_other_particles_hardly_any_is_unknown() -> None:
    for seed in range(5):
        features, truth = clouds(np.random.default_rng(seed), [150, 150])
        found = classify_by_prototypes(features, some_labels(truth, 2, 5))
        assert np.mean(found.unknown > 0.5) < 0.05


def test_the_unit_of_distance_is_estimated_without_bias() -> None:
    estimates = []
    for seed in range(200):
        features, truth = clouds(np.random.default_rng(seed), [3, 2, 4])
        labels = ParticleLabels(("a", "b", "c"), truth)
        estimates.append(prototypes_of(features, labels).unit)
    assert np.mean(estimates) == pytest.approx(12, rel=0.03)


def test_the_unknown_probability_never_falls_with_the_distance() -> None:
    rng = np.random.default_rng(1)
    distances = np.concatenate([rng.gamma(6, 1 / 6, 300), rng.gamma(20, 3 / 20, 100)])
    found = unknown_probability(distances, 12, 4)
    assert (np.diff(found[np.argsort(distances)]) >= 0).all()
    assert found[:300].mean() < 0.1
    assert found[300:].mean() > 0.9
    assert unknown_probability(np.zeros(0), 12, 4).shape == (0,)


def test_classes_become_clusters_with_the_users_names() -> None:
    table = picks(count=5)
    names = ("ferritin", "ribosome")
    probabilities = np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    classes = ClassProbabilities(names, probabilities, np.array([0.0, 0.0, 0.1, 0.95, 0.0]))
    found, clusters = cluster_particles(
        table, table[columns.PARTICLE].tolist(), np.zeros((5, 3), np.float32), np.zeros((5, 3)),
        np.ones(5, np.float32), ClusteringOptions(), 1, classes,
    )  # fmt: skip
    assert found[columns.CLASS].tolist() == [2, 1, 0, 0, 2]
    assert found[columns.CLASS_NAME].tolist() == [
        "ribosome", "ferritin", "none of these", "none of these", "ribosome",
    ]  # fmt: skip
    assert cluster_summary(found).drop(columns="members").to_dict("list") == {
        "cluster": [1, 2, 0],
        "class": ["ferritin", "ribosome", "none of these"],
        "particles": [1, 2, 2],
        "mean_posterior": pytest.approx([0.8, 0.85, 0.2475]),
    }
    assert len(clusters.selection) == 0


def test_a_class_without_particles_has_no_cluster_to_average() -> None:
    table = picks(count=2)
    classes = ClassProbabilities(("a", "b", "c"), np.array([[1.0, 0, 0], [0, 0, 1.0]]), np.zeros(2))
    found, _ = cluster_particles(
        table, table[columns.PARTICLE].tolist(), np.zeros((2, 3), np.float32), np.zeros((2, 3)),
        np.ones(2, np.float32), ClusteringOptions(), 1, classes,
    )  # fmt: skip
    assert cluster_summary(found)["cluster"].tolist() == [1, 3, 0]


def test_merged_particles_get_the_name_of_the_class_they_are_merged_into() -> None:
    def average(number: int, name: str) -> ClusterAverage:
        table = picks(count=3).assign(**{columns.CLASS: number, columns.CLASS_NAME: name})
        zeros = dict.fromkeys((*columns.ANGLES, *columns.ORIGINS), 0.0)
        return ClusterAverage(np.zeros((4, 4, 4), np.float32), 10.0, particles=table.assign(**zeros))

    row = {"cluster": 2, "into": 1, "correlation": 1.0, "offered": 1, "rot": 0.0, "tilt": 0.0, "psi": 0.0}
    mergers = pd.DataFrame([{**row, "x": 0.0, "y": 0.0, "z": 0.0}])
    merged = merged_particles({1: average(1, "a"), 2: average(2, "b")}, mergers, True)
    assert set(zip(merged[columns.CLASS], merged[columns.CLASS_NAME], strict=True)) == {(1, "a")}


def test_features_are_written_with_the_classes(tmp_path: Path) -> None:
    """Every learner can be used with labels: bright balls of two sizes by the radial statistics."""
    rng = np.random.default_rng(1)
    radius = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(12) - 6] * 3)), axis=0)
    truth = np.arange(40) % 2
    boxes = ((radius < 3 + 2 * truth[:, None, None, None]) * 4 + rng.normal(size=(40, 12, 12, 12))).astype(
        np.float32
    )
    options = FeatureOptions(learner="radial", centre=False)
    learned = learn_features(
        create_learner("radial", options, CPU, 1), boxes, options, labels=some_labels(truth, 2, 3)
    )
    names = [f"a/{number}" for number in range(40)]
    learned.write(tmp_path / "features.npz", names, 10.0)
    classes = ClassProbabilities.from_arrays(read_features(tmp_path / "features.npz")[2])
    assert classes is not None
    assert classes.names == ("a", "b")
    assert (classes.probabilities.argmax(axis=1) == truth).all()
    assert (classes.unknown[:6] == 0).all()
    assert ClassProbabilities.from_arrays({}) is None


LABELLED: dict[str, Any] = {"features": {"labels": "labels.star"}}


def test_labels_are_checked_before_the_run_and_an_edit_learns_again(tmp_path: Path) -> None:
    make_dataset(tmp_path, ["a"], LABELLED)
    result = snakemake(tmp_path, "--dry-run")
    assert (
        "features.labels: no file 'labels.star'; name a STAR, TSV or CSV file"
        in result.stdout + result.stderr
    )
    write(tmp_path / "labels.star", named(FOUR, "a"))
    assert planned(tmp_path) == {**ONCE, **per_tomogram(1), "check_labels": 1}
    write(tmp_path / "labels.star", named({1: "ribosome", 2: "ribosome"}, "a"))
    result = snakemake(tmp_path, "--", "results/check/labels.tsv")
    assert result.returncode == 1
    assert "labels.star: has only one class, 'ribosome'" in result.stderr
    assert not (tmp_path / "results" / "check" / "labels.tsv").exists()
    write(tmp_path / "labels.star", named(FOUR, "a"))
    assert snakemake(tmp_path, "--", "results/check/labels.tsv").returncode == 0
    write(tmp_path / "labels.star", named({**FOUR, 5: "ferritin"}, "a"))
    assert planned(tmp_path, "--", "results/check/labels.tsv") == {"check_labels": 1}


def test_the_users_file_is_never_written(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.star", named(FOUR))
    path.chmod(0o444)
    before = path.read_bytes()
    check_labels(path, ["TS_01"])
    assert path.read_bytes() == before
    assert read_particles(path)[columns.LABEL].tolist() == list(FOUR.values())
