"""The rule learn_features: in several processes, and with a model that another dataset trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import TINY, run
from small_runs import make_dataset as make_tiny
from test_disca import CPU, learner, two_classes
from test_workflow import make_dataset, snakemake

from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.cluster_averages import average_files, read_map
from cryopipe.files.features import read_features
from cryopipe.files.tables import read_table

FEATURES = "results/features/features.npz"
REPORT = "results/report/report.html"
TRAINED: dict[str, Any] = {
    "learner": "disca", "clusters": [2, 3], "mixture_starts": 2, "centre": False,
    "disca": {"network": "yopo", "widths": [8, 8], "feature_width": 16, "iterations": 1, "learning_rate": 1e-3,
              "steps": 1, "warm_up": 5},
}  # fmt: skip


def dataset(folder: Path, features: dict[str, Any], boxes: np.ndarray) -> Path:
    """A dataset whose boxes are cut already."""
    folder.mkdir()
    make_dataset(folder, ["a"], {"features": features, "device": "cpu"})
    (folder / "results" / "subtomograms").mkdir(parents=True)
    with BoxWriter(folder / "results/subtomograms/a.h5", 12, 10.0, (-60, 60), "a") as writer:
        writer.append(boxes, [f"a/{number}" for number in range(len(boxes))])
    return folder


def learn(folder: Path, *arguments: str) -> str:
    """Run the one rule; return its log."""
    result = snakemake(folder, *arguments, "--allowed-rules", "learn_features", "--", FEATURES)
    assert result.returncode == 0, result.stderr
    return (folder / "logs" / "learn_features.log").read_text()


@pytest.mark.slow
def test_model_of_one_dataset_is_applied_to_another(tmp_path: Path) -> None:
    boxes, _ = two_classes(60)
    first = dataset(tmp_path / "first", TRAINED, boxes[:40])
    log = learn(first, "--set-resources", "learn_features:gpu=2")
    assert "training in 2 processes" in log
    assert log.count("best iteration: ") == 1

    applied = {
        "learner": "disca",
        "weights": "../first/results/features/model.safetensors",
        "disca": {"train": False},
    }
    second = dataset(tmp_path / "second", {**applied, "centre": False}, boxes[40:])
    assert "best iteration: " not in learn(second)
    names, features, _ = read_features(second / FEATURES)
    assert names == [f"a/{number}" for number in range(20)]
    trained = learner()
    trained.load(first / "results/features/model.safetensors")
    np.testing.assert_allclose(features, trained.embed(boxes[40:]), atol=2e-2)
    assert trained.device == CPU


def test_missing_weights_are_named_before_anything_runs(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "new", {"weights": "../old/model.safetensors"}, two_classes(4)[0])
    result = snakemake(folder, "--dry-run", "--allowed-rules", "learn_features", "--", FEATURES)
    assert result.returncode == 1
    said = (
        "features.weights: no file '../old/model.safetensors'; name the model.safetensors of an earlier run"
    )
    assert said in result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_clusters_are_decoded_and_decoded_maps_of_an_earlier_learner_are_removed(tmp_path: Path) -> None:
    tiny = {"widths": [4, 4], "feature_width": 8, "epochs": 3, "batch_size": 8}
    make_tiny(tmp_path, {**TINY, "features": {"learner": "autoencoder", "autoencoder": tiny}})
    run(tmp_path, REPORT)
    clusters = read_table(tmp_path / "results/clusters/clusters.tsv", ())["cluster"]
    decoded = tmp_path / "results/features/decoded"
    maps = [read_map(path) for path in average_files(decoded)]
    assert len(maps) == int((clusters > 0).sum()) == 2
    assert {(volume.shape, scale) for volume, scale in maps} == {((16, 16, 16), 20.0)}
    assert all(volume.std() > 0 for volume, _ in maps)
    report = tmp_path / REPORT
    assert report.read_text().count("What the network remembers of this cluster") == 2
    assert "Slices of boxes decoded between the largest clusters" in report.read_text()
    own = decoded / "mine.mrc"
    own.touch()
    make_tiny(tmp_path, {**TINY, "features": {"learner": "transfer"}})
    run(tmp_path, REPORT)
    assert list(decoded.iterdir()) == [own]
    assert "What the network remembers" not in report.read_text()
    assert "decoded between the largest clusters" not in report.read_text()
