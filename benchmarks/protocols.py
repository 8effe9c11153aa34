"""Register of the protocols: how a learner is run and scored on the boxes of a benchmark.

To add a protocol, write a module with a function `run(task: Task) -> list[dict]` (see `benchmarks.task`) and add it to
`PROTOCOLS`. Plans choose a protocol by name, for all learners or in the entry of one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

PROTOCOLS = {
    "averages": "benchmarks.averages_protocol:run",
    "clusters": "benchmarks.cluster_protocol:run",
    "labels": "benchmarks.label_protocol:run",
    "fine_tune": "benchmarks.fine_tuning_protocol:run",
    "oracle": "benchmarks.oracle:run",
    "template": "benchmarks.template_protocol:run",
    "two_way_five_shot": "benchmarks.episode_protocol:five_shot",
    "two_way_one_shot": "benchmarks.episode_protocol:one_shot",
}
"""Module and function of every protocol; imported when the protocol runs.

averages: as clusters, then classify by averages. clusters: train without labels, cluster the features, compare clusters and classes. labels: train a linear probe with a
fraction of the labels, and test it on other boxes. fine_tune: train without labels, fine-tune with a fraction of the
labels, test on other boxes. oracle: the classes of highest probability given the true maps. two_way_five_shot and
two_way_one_shot: episodes of two classes with five or one example of each.
"""
WITHOUT_LEARNER = ("oracle",)
"""Protocols that run no learner of cryopipe; their entries in a plan contain options of their own."""


def protocol_function(name: str) -> Any:
    """Return the function of the protocol `name`: a task (`benchmarks.task.Task`) -> rows (see `Leaderboard.runs`)."""
    module, _, function = PROTOCOLS[name].partition(":")
    return getattr(import_module(module), function)
