"""Plan of a benchmark: classes, boxes, conditions, learners and published figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.plan_files import read_yaml
from benchmarks.plan_parts import Classes, Condition, Size
from benchmarks.protocols import PROTOCOLS, WITHOUT_LEARNER
from cryopipe.classification import ClassificationOptions
from cryopipe.config import section_of
from cryopipe.errors import ConfigError
from cryopipe.features import LEARNERS
from cryopipe.features.options import FeatureOptions
from cryopipe.simulation.box_simulator import BoxOptions
from cryopipe.simulation.options import SimulationOptions

SIZES = ("reduced", "full")
ALIKE = ("species", "states")
FIGURES = ("accuracy", "homogeneity", "v_measure", "probe")
"""Scores (0 to 1) that a published row may contain."""
OWN_KEYS = ("protocol", "conditions", "classification")
"""Keys of a learner's entry that are not options of the learner."""


@dataclass(frozen=True)
class BenchmarkPlan:
    """A published table as a benchmark that can be run.

    Attributes
    ----------
    name, title, source, note
        Name, title, origin of the published figures, and remarks.
    classes, boxes, conditions, sizes
        The simulation; `boxes` contains the simulator's options and the voxel size and resolution of the maps.
    clusters
        (lowest, highest) number of clusters considered.
    learners
        Entry of each learner by name: options of the section `features` of config.yaml, nested as there, without
        `clusters`, and optionally the learner's own `protocol`, names of `conditions`, [] for all, and options of the
        section `classification`.
    published
        Rows with method, condition and figures.
    protocol
        How learners are run and scored: a name of `benchmarks.protocols.PROTOCOLS`.
    tomograms
        If boxes are cut from simulated tomograms: their `number`, and options of `SimulationOptions` that are
        not in `boxes`.
    """

    name: str
    title: str
    source: str
    note: str
    classes: Classes
    boxes: Mapping[str, Any]
    conditions: Sequence[Condition]
    clusters: tuple[int, int]
    learners: Mapping[str, Mapping[str, Any]]
    sizes: Mapping[str, Size]
    published: Sequence[Mapping[str, Any]]
    protocol: str = "clusters"
    tomograms: Mapping[str, Any] | None = None

    @property
    def possible(self) -> int:
        """Number of classes, with that of empty boxes."""
        return self.classes.count + self.classes.empty

    @property
    def tomogram_count(self) -> int:
        """Number of tomograms from which boxes are cut."""
        return int((self.tomograms or {}).get("number", 0))

    def tomogram_options(self) -> SimulationOptions:
        """Return the simulation options of the tomograms from which boxes are cut, without the species."""
        shared = {
            name: value for name, value in self.boxes.items() if name not in ("defocus", "displacement")
        }
        own = {name: value for name, value in (self.tomograms or {}).items() if name != "number"}
        options = {**shared, "defocus": self.boxes["defocus"][0], "snr": self.conditions[0].snr, **own}
        return section_of(SimulationOptions, "tomograms", options)

    def size_name(self, asked: str, device: str) -> str:
        """Return the requested size; "auto" selects full on a GPU ("cuda"), otherwise reduced."""
        return asked if asked != "auto" else "full" if device == "cuda" else "reduced"

    def conditions_at(self, size: Size, learner: str = "") -> list[Condition]:
        """Return the conditions of a size, or the learner's own, of which that of the size takes precedence."""
        own = {**self.learners.get(learner, {}), **size.learners.get(learner, {})}
        chosen = own.get("conditions", size.conditions)
        return [one for one in self.conditions if not chosen or one.name in chosen]

    def box_options(self, size: Size, snr: float, maps: bool) -> BoxOptions:
        """Return the simulation options of boxes of one SNR."""
        options = {
            name: value for name, value in self.boxes.items() if name not in ("voxel_size", "resolution")
        }
        for name in ("tilt_range", "defocus"):
            if name in options:
                options[name] = tuple(options[name])
        box_size = (size.template_box_size or size.box_size) if maps else size.box_size
        return section_of(BoxOptions, "boxes", {**options, "box_size": box_size, "snr": (snr, snr)})

    def feature_options(self, learner: str, size: Size, encoder: str | None = None) -> FeatureOptions:
        """Return a learner's options: the defaults, updated by the plan's, then by those of the size.

        `encoder`, a file of weights, replaces the shipped encoder.

        Raises
        ------
        ConfigError
            If the learner is neither in the plan nor in cryopipe, or options do not exist.
        """
        options = {"clusters": self.clusters, **self.learner_entry(learner, size)}
        section = options.get(options["learner"], {})
        starts_with_encoder = options["learner"] == "transfer" or (
            options["learner"] == "disca" and section.get("network", "encoder") == "encoder"
        )
        if options.get("weights") is None and starts_with_encoder:
            options["weights"] = encoder
        return section_of(FeatureOptions, f"learner {learner}", options)

    def classification_options(self, learner: str) -> ClassificationOptions:
        """Return the options of classification by averages in a learner's entry."""
        options = {"method": "averages", **self.learners.get(learner, {}).get("classification", {})}
        return section_of(ClassificationOptions, f"learner {learner}: classification", options)

    def learner_entry(self, learner: str, size: Size) -> dict[str, Any]:
        """Return a learner's entry, updated by that of the size, without `OWN_KEYS`.

        Raises
        ------
        ConfigError
            If the learner is neither in the plan nor in cryopipe.
        """
        if learner not in self.learners and learner not in LEARNERS:
            known = sorted({*self.learners, *LEARNERS})
            raise ConfigError(f"learner {learner!r} is unknown", remedy=f"choose one of {', '.join(known)}")
        entry = updated(self.learners.get(learner, {"learner": learner}), size.learners.get(learner, {}))
        return {name: value for name, value in entry.items() if name not in OWN_KEYS}

    def protocol_of(self, learner: str) -> str:
        """Return the name of the protocol that runs a learner: its own, or the plan's."""
        return str(self.learners.get(learner, {}).get("protocol", self.protocol))


def updated(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested options with some of them replaced; sections are updated, other values replaced."""
    result = dict(options)
    for name, value in changes.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = updated(old, value)
        result[name] = value
    return result


def read_plan(path: Path) -> BenchmarkPlan:
    """Return the plan of a benchmark's YAML file; see `plan_from_mapping`."""
    return plan_from_mapping(path.stem, read_yaml(path))


def plan_from_mapping(name: str, content: Mapping[str, Any]) -> BenchmarkPlan:
    """Return the plan described by the content of a benchmark's YAML file.

    Raises
    ------
    ConfigError
        If a key is missing or unknown, or a published figure belongs to no condition of the plan.
    """
    plan = section_of(BenchmarkPlan, f"benchmark {name}", {**content, "name": name})
    classes = section_of(Classes, f"{name}: classes", plan.classes)
    conditions = [section_of(Condition, f"{name}: conditions", row) for row in plan.conditions]
    sizes = {key: section_of(Size, f"{name}: sizes: {key}", value) for key, value in plan.sizes.items()}
    low, high = plan.clusters
    complete = BenchmarkPlan(
        **{
            **vars(plan),
            "classes": classes,
            "conditions": conditions,
            "sizes": sizes,
            "clusters": (int(low), int(high)),
        }
    )
    _check(complete)
    return complete


def _check(plan: BenchmarkPlan) -> None:
    """Raise `ConfigError` for names that are not defined and options that do not exist."""
    problems = []
    if set(plan.sizes) != set(SIZES):
        problems.append(f"sizes are {', '.join(plan.sizes)}; give {' and '.join(SIZES)}")
    if len(plan.classes.templates) != plan.classes.count:
        problems.append(
            f"{len(plan.classes.templates)} templates for {plan.classes.count} classes; give one for each"
        )
    known = {condition.name for condition in plan.conditions}
    problems += [
        f"{learner or 'plan'}: unknown protocol {protocol!r}; give one of {', '.join(PROTOCOLS)}"
        for learner in ("", *plan.learners)
        if (protocol := plan.protocol_of(learner)) not in PROTOCOLS
    ]
    for row in plan.published:
        if row.get("condition") not in known:
            problems.append(f"published figure for the unknown condition {row.get('condition')!r}")
        wrong = [
            key
            for key, value in row.items()
            if key not in ("method", "condition") and (key not in FIGURES or not 0 <= value <= 1)
        ]
        problems += [
            f"published figure {key}: {row[key]}; give one of {', '.join(FIGURES)}, 0 to 1" for key in wrong
        ]
    problems += [
        f"size {name}: options for the unknown learner {learner!r}"
        for name, size in plan.sizes.items()
        for learner in size.learners
        if learner not in plan.learners
    ]
    chosen = {f"size {name}": size.conditions for name, size in plan.sizes.items()}
    chosen |= {name: entry.get("conditions", ()) for name, entry in plan.learners.items()}
    chosen |= {
        f"size {name}, {learner}": entry.get("conditions", ())
        for name, size in plan.sizes.items()
        for learner, entry in size.learners.items()
    }
    problems += [
        f"{name}: unknown condition {condition!r}"
        for name, conditions in chosen.items()
        for condition in conditions
        if condition not in known
    ]
    problems += [
        f"{condition.name}: boxes {list(condition.boxes)}; give at most {plan.possible} numbers, not all 0"
        for condition in plan.conditions
        if condition.boxes is not None
        and not (any(condition.boxes) and len(condition.boxes) <= plan.possible)
    ]
    if plan.classes.alike not in (None, *ALIKE):
        problems.append(f"classes.alike {plan.classes.alike!r}; give one of {', '.join(ALIKE)}")
    if plan.tomograms is not None:
        if any(condition.boxes for condition in plan.conditions):
            problems.append("conditions of boxes cut from tomograms have no 'boxes'")
        if plan.tomogram_count < 1:
            problems.append("tomograms.number is missing; give 1 or more")
        if plan.classes.empty or len({condition.snr for condition in plan.conditions}) > 1:
            problems.append("boxes cut from tomograms need one SNR in all conditions and classes.empty false")
    problems += [
        f"{learner}: no 'learner'"
        for learner, entry in plan.learners.items()
        if "learner" not in entry and plan.protocol_of(learner) not in WITHOUT_LEARNER
    ]
    if problems:
        raise ConfigError(f"benchmark {plan.name}: " + " | ".join(problems), remedy="correct its YAML file")
    if plan.tomograms is not None:
        plan.tomogram_options()
    for name, size in plan.sizes.items():
        for condition in plan.conditions:
            if not (condition.snr > 0 and not math.isnan(condition.snr)):
                raise ConfigError(
                    f"benchmark {plan.name}: {condition.name}: SNR {condition.snr}",
                    remedy="give a positive number",
                )
            plan.box_options(size, condition.snr, maps=name == "full")
        for learner in plan.learners:
            plan.classification_options(learner)
            if plan.protocol_of(learner) not in WITHOUT_LEARNER:
                plan.feature_options(learner, size)
