"""Task of a protocol: one learner of a plan on one set of boxes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.box_sets import BoxSet, FloatArray
from benchmarks.hardware import peak_memory
from benchmarks.plan import BenchmarkPlan
from benchmarks.plan_parts import Condition, Size
from cryopipe.features import Learner, create_learner
from cryopipe.simulation.phantoms import Phantom


@dataclass(frozen=True)
class Task:
    """One learner of a plan on one set of boxes.

    Attributes
    ----------
    plan, size
        The benchmark and its size.
    name
        The learner's name in the plan.
    conditions
        The conditions with this SNR; a protocol returns a row for each.
    boxes
        Boxes and their true classes.
    phantoms
        The classes.
    maps
        Whether the classes are density maps instead of procedural phantoms.
    device
        Device of the computation.
    seed
        Random seed of boxes and learner.
    encoder
        File of weights to use in place of the shipped encoder.
    """

    plan: BenchmarkPlan
    size: Size
    name: str
    conditions: Sequence[Condition]
    boxes: BoxSet
    phantoms: Sequence[Phantom]
    maps: bool
    device: torch.device
    seed: int
    encoder: str | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The learner's entry in the plan, updated by that of the size, without protocol and conditions."""
        return self.plan.learner_entry(self.name, self.size)

    def learner(self) -> Learner:
        """Return the learner, created with the plan's options."""
        options = self.plan.feature_options(self.name, self.size, self.encoder)
        return create_learner(options.learner, options, self.device, self.seed)

    def fitted(self) -> Fitted:
        """Train the learner without labels and embed the boxes."""
        learner = self.learner()
        started = time.monotonic()
        with peak_memory(self.device) as peak:
            learner.fit(self.boxes.boxes)
            features = learner.embed(self.boxes.boxes)
        return Fitted(learner, features, time.monotonic() - started, peak.gigabytes)


@dataclass(frozen=True)
class Fitted:
    """A trained learner, its features (n, d) of the boxes, and the cost of both: seconds, gigabytes."""

    learner: Learner
    features: FloatArray
    seconds: float
    memory_gb: float
