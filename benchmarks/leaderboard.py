"""Comparison of learners on the same simulated boxes."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from benchmarks.alike_phantoms import alike_phantoms
from benchmarks.box_sets import BoxSet, measure_snr, simulate_set
from benchmarks.hardware import describe_hardware
from benchmarks.plan import BenchmarkPlan
from benchmarks.plan_parts import Condition
from benchmarks.protocols import protocol_function
from benchmarks.task import Task
from cryopipe.progress import Progress
from cryopipe.simulation.maps import read_named_maps
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

logger = logging.getLogger(__name__)
SCORES = ("accuracy", "homogeneity", "v_measure", "least_f1", "clusters", "probe", "seconds", "memory_gb")
"""Columns of a row: scores of clusters or classes (0 to 1), least_f1 that of the class found worst, number of clusters,
accuracy of a linear probe on the features, cost."""


@dataclass(frozen=True)
class Leaderboard:
    """Results of a benchmark.

    Attributes
    ----------
    runs
        One row per condition, learner and seed: `SCORES`, NaN where a protocol has no such score.
    classes
        Names of the classes, in the simulator's order.
    measured_snr
        By name of the condition; NaN without noise.
    size
        Name of the plan's size.
    maps
        Whether the classes are density maps instead of phantoms.
    boxes
        Number of boxes, and their edge in voxels.
    hardware
        Description of the hardware.
    """

    runs: pd.DataFrame
    classes: list[str]
    measured_snr: dict[str, float]
    size: str
    maps: bool
    boxes: tuple[int, int]
    hardware: str

    def table(self) -> pd.DataFrame:
        """Return `runs` with all other attributes in further columns."""
        return self.runs.assign(
            classes=", ".join(self.classes),
            measured_snr=self.runs["condition"].map(self.measured_snr),
            size=self.size,
            maps=int(self.maps),
            boxes=self.boxes[0],
            box_size=self.boxes[1],
            hardware=self.hardware,
        )


def joined(tables: Sequence[pd.DataFrame]) -> Leaderboard:
    """Return the results of one benchmark from the tables of its learners; see `Leaderboard.table`."""
    rows = pd.concat(tables, ignore_index=True)
    first = rows.iloc[0]
    return Leaderboard(
        rows.reindex(columns=["condition", "learner", "seed", *SCORES]),
        str(first["classes"]).split(", "),
        dict(zip(rows["condition"].astype(str), rows["measured_snr"].astype(float), strict=True)),
        str(first["size"]),
        bool(first["maps"]),
        (int(first["boxes"]), int(first["box_size"])),
        " and ".join(dict.fromkeys(rows["hardware"].astype(str))),
    )


def benchmark_phantoms(plan: BenchmarkPlan, templates: str | os.PathLike[str] | None) -> list[Phantom]:
    """Return the classes of a benchmark: density maps of a directory, or procedural phantoms.

    Raises
    ------
    SimulationError
        If a map is missing.
    """
    voxel_size, resolution = float(plan.boxes["voxel_size"]), float(plan.boxes["resolution"])
    classes = plan.classes
    if classes.alike is not None:
        return alike_phantoms(classes.alike, classes.count, voxel_size, resolution, classes.first_seed)
    if templates is None:
        return stock_phantoms(
            classes.count, voxel_size, resolution, classes.first_seed, classes.largest_radius
        )
    return read_named_maps(templates, classes.templates, voxel_size, resolution)


def run_benchmark(
    plan: BenchmarkPlan,
    size_name: str,
    learners: Sequence[str],
    phantoms: Sequence[Phantom],
    device: torch.device,
    maps: bool = False,
    cut: BoxSet | None = None,
    encoder: str | None = None,
) -> Leaderboard:
    """Run every learner on the same boxes, for each SNR and seed.

    Parameters
    ----------
    plan, size_name
        The plan and the name of one of its sizes.
    learners
        Names of the plan's learners, or of cryopipe's.
    phantoms
        The classes.
    device
        Device of the computation.
    maps
        Whether the classes are density maps, which need the larger boxes.
    cut
        Boxes cut from simulated tomograms; the same for every seed.
    encoder
        File of weights to use in place of the shipped encoder.
    """
    size = plan.sizes[size_name]
    own = {name: plan.conditions_at(size, name) for name in learners}
    wanted = [one for one in plan.conditions if any(one in some for some in own.values())]
    levels = list(dict.fromkeys(_boxes_of(condition) for condition in wanted))
    tasks = sum(len({_boxes_of(condition) for condition in some}) for some in own.values())
    counter = Progress(tasks * len(size.seeds), "runs", plan.name, interval=0.0)
    rows: list[dict[str, Any]] = []
    measured: dict[float, float] = {}
    for level in levels:
        snr, numbers = level
        options = plan.box_options(size, snr, maps)
        if snr not in measured:
            measured[snr] = cut.measured_snr if cut else measure_snr(phantoms, options, device)
        part, present, labels = _classes_of(
            plan, phantoms, numbers or (size.boxes_per_class,) * plan.possible
        )
        for seed in size.seeds:
            chosen = cut or simulate_set(present, options, labels, device, seed)
            for name in learners:
                conditions = [condition for condition in own[name] if _boxes_of(condition) == level]
                if not conditions:
                    continue
                task = Task(part, size, name, conditions, chosen, present, maps, device, seed, encoder)
                rows += run_task(task)
                counter.advance()
    names = [phantom.name for phantom in phantoms] + ["no particle"] * plan.classes.empty
    snrs = {condition.name: measured[condition.snr] for condition in wanted}
    edges = len(chosen.boxes), chosen.boxes.shape[-1]
    runs = pd.DataFrame(rows)
    return Leaderboard(runs, names, snrs, size_name, maps, edges, describe_hardware(device))


def _boxes_of(condition: Condition) -> tuple[float, tuple[int, ...]]:
    """Return what distinguishes the boxes of one condition from those of another: SNR and numbers of boxes."""
    return condition.snr, tuple(condition.boxes or ())


def _classes_of(
    plan: BenchmarkPlan, phantoms: Sequence[Phantom], numbers: Sequence[int]
) -> tuple[BenchmarkPlan, Sequence[Phantom], torch.Tensor]:
    """Return the plan and the phantoms of the classes that have boxes, at least one, and the (n,) class of each box."""
    complete = [*numbers, *[0] * (plan.possible - len(numbers))]
    particles, empty = complete[: len(phantoms)], sum(complete[len(phantoms) :])
    present = [number for number, count in enumerate(particles) if count] or [0]
    counts = [particles[number] for number in present] + [empty] * (empty > 0)
    classes = replace(plan.classes, count=len(present), empty=empty > 0)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return replace(plan, classes=classes), [phantoms[number] for number in present], labels


def run_task(task: Task) -> list[dict[str, Any]]:
    """Run one learner by its protocol; return its rows with condition, learner, seed and `SCORES`."""
    rows = []
    for scores in protocol_function(task.plan.protocol_of(task.name))(task):
        row = {"condition": scores["condition"], "learner": task.name, "seed": task.seed}
        rows.append(row | {name: float(scores.get(name, math.nan)) for name in SCORES})
        shown = ", ".join(f"{name} {scores[name]:.3g}" for name in SCORES if name in scores)
        logger.info("%s, %s, seed %d: %s", scores["condition"], task.name, task.seed, shown)
    return rows
