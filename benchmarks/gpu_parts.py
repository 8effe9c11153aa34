"""The parts of a session on a GPU: comparison, throughput, training, tables. Each writes what is done at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import yaml

from benchmarks import throughput
from benchmarks.device_comparison import FULL, REHEARSAL, Side, compare_devices, failures
from benchmarks.hardware import describe_hardware
from benchmarks.leaderboard import benchmark_phantoms, run_benchmark
from benchmarks.plan import BenchmarkPlan, plan_from_mapping
from cryopipe.errors import DataError
from cryopipe.features.learners.transfer import save_encoder
from cryopipe.features.networks.yopo import Yopo
from cryopipe.features.training.devices import has_fast_bfloat16
from cryopipe.files.atomic import write_text
from cryopipe.files.tables import read_table, write_table
from cryopipe.pretraining.recipe import Recipe, recipe_from_mapping
from cryopipe.pretraining.run import PretrainingRun
from cryopipe.pretraining.training_boxes import class_set_phantoms

logger = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
CPU = torch.device("cpu")
SAVED_SECONDS = 20.0
"""Time between two writings of an encoder in training."""
SPARE = 0.9
"""Part of the time that a training is planned to fill."""
PACE_STEPS = 24
TABLES = (
    ("disca_table1_60", "transfer"), ("practical_table1", "transfer"), ("cssl_table1", "transfer"),
    ("moebel_shrec", "transfer"), ("disca_table1_60", "disca"), ("practical_table1", "disca"),
)  # fmt: skip
"""Plans and learners, in the order in which they run."""


@dataclass(frozen=True)
class Session:
    """What the parts of a session have in common.

    Attributes
    ----------
    out
        The folder for what comes back.
    device
        What is tried; cpu in a rehearsal.
    deadline
        Of the part, by `time.monotonic`.
    rehearsal
        Whether everything is small.
    seed
        Of boxes and weights.
    """

    out: Path
    device: torch.device
    deadline: float
    rehearsal: bool = False
    seed: int = 1

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


def compare(session: Session) -> None:
    """Compare the device's results with the processor's; in a rehearsal, two threads with one.

    Raises
    ------
    DataError
        If a figure is beyond its tolerance.
    """
    reference = Side(CPU, 1) if session.device == CPU else Side(CPU)
    other = Side(session.device, 2 if session.device == CPU else None)
    path = session.out / "comparison.tsv"
    extent = REHEARSAL if session.rehearsal else FULL
    table = compare_devices(reference, other, extent, lambda rows: write_table(path, rows))
    if failed := failures(table):
        raise DataError(
            f"beyond tolerance or failed: {', '.join(failed)}",
            file=path,
            remedy="see the rows that did not pass",
        )


def measure(session: Session) -> None:
    """Measure how fast the learners train and embed, network by network, compiled ones at the end."""
    device = session.device
    cases = throughput.cases(device)
    if session.rehearsal:
        cases = [throughput.Case("tiny", lambda: Yopo((4,), 8), True, 16, 8)]
    peak = throughput.peak_tflops(device, 16_384 if device.type == "cuda" else 512)
    points = 300 if session.rehearsal else throughput.POINTS
    mixture = throughput.mixture_seconds(device, points)
    kind = "bfloat16" if has_fast_bfloat16(device) else "single precision"
    tables: list[pd.DataFrame] = []
    for compile_too in (False, True) if device.type == "cuda" else (False,):
        for case in cases:
            if session.left < 0:
                return
            table = throughput.measure_throughput(device, [case], compile_too)
            tables = [*tables[:-1], table] if compile_too and len(cases) == 1 else [*tables, table]
            rows = pd.concat(tables, ignore_index=True).drop_duplicates(["network", "work"], keep="last")
            hardware = describe_hardware(device)
            section = throughput.throughput_section(rows, peak, mixture, hardware, kind, points)
            write_text(session.out / "throughput.md", section)


def train(session: Session, recipe_name: str, file: str) -> None:
    """Train an encoder by a recipe that is shortened to what the time allows, and write it as it goes on.

    Parameters
    ----------
    session
        Until its deadline.
    recipe_name
        Of a file in benchmarks/recipes.
    file
        Name of the weights in the session's folder.
    """
    text = (FOLDER / "recipes" / f"{recipe_name}.yaml").read_text(encoding="utf-8")
    recipe = recipe_from_mapping(yaml.safe_load(text))
    if session.rehearsal:
        recipe = rehearsed(recipe)
    class_sets = [class_set_phantoms(classes) for classes in recipe.classes]
    whole = sum(stage.steps for stage in recipe.stages)
    recipe = shortened(recipe, _fraction(session, recipe, lambda short: PretrainingRun(
        short, class_sets, session.device, session.seed)))  # fmt: skip
    run = PretrainingRun(recipe, class_sets, session.device, session.seed)
    saved = time.monotonic()

    def save() -> None:
        steps = sum(stage.steps for stage in recipe.stages[: run.stage]) + run.step
        notes = {"recipe": repr(recipe), "seed": str(session.seed), "steps": str(steps), "of": str(whole)}
        save_encoder(session.out / file, run.encoder, notes)
        _write_history(session.out / "training.tsv", Path(file).stem, run.history)

    def may_continue() -> bool:
        nonlocal saved
        if time.monotonic() - saved > SAVED_SECONDS:
            save()
            saved = time.monotonic()
        return session.left > 0

    run.train(may_continue=may_continue)
    save()


def rehearsed(recipe: Recipe) -> Recipe:
    """Return a recipe of few, small classes and steps, with the networks and stages of the whole one."""
    classes = tuple(replace(one, count=2, largest_radius=60.0, templates=()) for one in recipe.classes[:1])
    stages = tuple(replace(one, boxes=64, batch_size=8, conditions=1) for one in recipe.stages)
    return replace(recipe, classes=classes, stages=stages, widths=tuple(w // 4 for w in recipe.widths))


def shortened(recipe: Recipe, fraction: float) -> Recipe:
    """Return the recipe with every stage shortened to a fraction of its boxes, no less than one batch."""
    return replace(
        recipe,
        stages=tuple(
            replace(one, boxes=max(one.batch_size, int(one.boxes * fraction))) for one in recipe.stages
        ),
    )


def _fraction(session: Session, recipe: Recipe, make: Callable[[Recipe], PretrainingRun]) -> float:
    """Return the part of a recipe that the time allows, by the pace of a few steps of its first and last stage."""
    seconds = 0.0
    stages = recipe.stages
    for stage in stages:
        count = min(PACE_STEPS, stage.steps)
        run = make(replace(recipe, stages=(replace(stage, boxes=count * stage.batch_size),)))
        ticks: list[float] = []

        def tick(ticks: list[float] = ticks) -> bool:
            ticks.append(time.monotonic())
            return True

        started = time.monotonic()
        run.train(may_continue=tick)
        setup, spent = ticks[0] - started, time.monotonic() - ticks[0]
        # the first batches wait for more of the simulator than later ones: the second half is the pace
        half = ticks[len(ticks) // 2]
        pace = (time.monotonic() - half) / (len(ticks) - len(ticks) // 2)
        logger.info(
            "%d steps in %.1f s, %.4f s a step at the end, %.1f s of setup", count, spent, pace, setup
        )
        seconds += stage.steps * pace
        if session.left < 0:
            break
    return min(1.0, max(0.0, SPARE * session.left) / max(seconds, 1e-9))


def _write_history(path: Path, encoder: str, history: list[dict[str, float]]) -> None:
    rows = pd.DataFrame(history, columns=["stage", "step", "loss", "accuracy"]).assign(encoder=encoder)
    if path.is_file():
        before = read_table(path)
        rows = pd.concat([before[before["encoder"] != encoder], rows], ignore_index=True)
    write_table(path, rows)


def run_tables(session: Session) -> None:
    """Run tables, cheapest first, with the shipped encoder and those that were trained here, while there is time."""
    encoders: dict[str, str | None] = {"shipped": None}
    encoders |= {path.stem: str(path) for path in sorted(session.out.glob("encoder*.safetensors"))}
    rows: list[pd.DataFrame] = []
    for plan_name, learner in TABLES[:1] if session.rehearsal else TABLES:
        text = (FOLDER / "plans" / f"{plan_name}.yaml").read_text(encoding="utf-8")
        plan = plan_from_mapping(plan_name, yaml.safe_load(text))
        if session.rehearsal:
            plan = _rehearsed_plan(plan)
        phantoms = benchmark_phantoms(plan, None)
        for name, weights in encoders.items():
            if session.left < 0:
                return
            board = run_benchmark(plan, "reduced", [learner], phantoms, session.device, encoder=weights)
            rows.append(board.runs.assign(table=plan_name, encoder=name))
            write_table(session.out / "tables.tsv", pd.concat(rows, ignore_index=True))


def _rehearsed_plan(plan: BenchmarkPlan) -> BenchmarkPlan:
    small = replace(
        plan.sizes["reduced"], boxes_per_class=8, seeds=(1,), conditions=(plan.conditions[0].name,)
    )
    return replace(plan, sizes={**plan.sizes, "reduced": small}, clusters=(5, 5))


PARTS: dict[str, Callable[[Session], None]] = {
    "comparison": compare,
    "throughput": measure,
    "encoder": lambda session: train(session, "transfer_encoder", "encoder.safetensors"),
    "larger encoder": lambda session: train(session, "large_encoder", "encoder_large.safetensors"),
    "tables": run_tables,
}
