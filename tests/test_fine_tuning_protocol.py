"""Protocol of few labels: division of the boxes, and that test boxes take no part in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_learner_contrastive import TINY, boxes_of

from benchmarks.box_sets import BoxSet
from benchmarks.fine_tuning_protocol import division, labelled, run
from benchmarks.plan import Condition
from benchmarks.task import Task
from cryopipe.errors import ConfigError
from cryopipe.features import Learner, create_learner
from cryopipe.features.learners.contrastive import Contrastive


def test_each_class_is_divided_60_20_20_and_fractions_are_nested() -> None:
    truth = np.repeat([0, 1, 2], [10, 20, 50])
    training, validation, test = division(truth, 1)
    for part, counts in ((training, [6, 12, 30]), (validation, [2, 4, 10]), (test, [2, 4, 10])):
        assert np.bincount(truth[part]).tolist() == counts
    assert sorted(np.concatenate([training, validation, test])) == list(range(80))
    quarter, half = labelled(truth, training, 0.25), labelled(truth, training, 0.5)
    assert np.bincount(truth[quarter]).tolist() == [2, 3, 8]
    assert set(quarter) < set(half) < set(training)
    assert set(labelled(truth, training, 1.0)) == set(training)
    assert np.bincount(truth[labelled(truth, training, 0.01)]).tolist() == [1, 1, 1]
    assert not np.array_equal(division(truth, 2)[0], training)


class OneLearner:
    name = "a table"

    def __init__(self, name: str) -> None:
        self.learner_name = name

    def feature_options(self, name: str, size: object, encoder: object) -> object:
        changed = replace(TINY.contrastive, epochs=2, fine_tuning_epochs=15, fine_tuning_learning_rate=5e-2)
        return replace(TINY, learner=self.learner_name, contrastive=changed)


def task(learner: str = "contrastive") -> Task:
    boxes, classes = boxes_of(80)
    conditions = [Condition("all", 0.1, labels=1.0), Condition("half", 0.1, labels=0.5)]
    return Task(
        OneLearner(learner),
        None,
        "tiny",
        conditions,
        BoxSet(boxes, classes),
        (),
        False,
        torch.device("cpu"),
        1,
    )


def test_only_training_boxes_train_and_the_test_boxes_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[np.ndarray]] = {"fit": [], "fine_tune": [], "classify": []}
    for name in seen:
        original = getattr(Contrastive, name)

        def noted(self: Learner, boxes: object, *rest: object, name: str = name, original=original) -> object:
            seen[name].append(np.asarray(boxes.chosen))
            return original(self, boxes, *rest)

        monkeypatch.setattr(Contrastive, name, noted)
    made = task()
    rows = run(made)
    training, validation, test = division(made.boxes.truth, 1)
    assert [set(one) for one in seen["fit"]] == [set(training)]
    assert [set(one) for one in seen["classify"]] == [set(test)] * 2
    assert [len(one) for one in seen["fine_tune"]] == [48 + 16, 24 + 16]
    assert set(seen["fine_tune"][0]) == {*training, *validation}
    assert [row["condition"] for row in rows] == ["all", "half"]
    for row in rows:
        assert row["accuracy"] > 0.85
        assert row["probe"] > 0.85


def test_learners_without_fine_tuning_are_refused() -> None:
    assert not isinstance(create_learner("radial", TINY, torch.device("cpu"), 1), Contrastive)
    with pytest.raises(
        ConfigError, match="a table: the learner 'tiny' cannot be fine-tuned; give it the protocol labels"
    ):
        run(task("radial"))
