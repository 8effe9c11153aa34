"""Parts of a session on a GPU: comparison, throughput, training, tables. Each writes its results immediately."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from benchmarks import throughput
from benchmarks.device_comparison import FULL, REHEARSAL, Side, compare_devices, failures
from benchmarks.hardware import describe_hardware
from benchmarks.leaderboard import benchmark_phantoms, run_benchmark
from benchmarks.plan import BenchmarkPlan, read_plan
from benchmarks.plan_files import read_yaml
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
"""Interval at which an encoder in training is written."""
SPARE = 0.9
"""Fraction of the available time planned for a training."""
PACE_STEPS = 24
TABLES = (
    ("disca_table1_60", "transfer"), ("practical_table1", "transfer"), ("cssl_table1", "transfer"),
    ("moebel_shrec", "transfer"), ("disca_table1_60", "disca"), ("practical_table1", "disca"),
)  # fmt: skip
"""Plans and learners in order of execution."""


@dataclass(frozen=True)
class Session:
    """Settings of a session, common to its parts.

    Attributes
    ----------
    out
        Folder for the results.
    device
        Device under test; cpu in a rehearsal.
    deadline
        End of the part's time, in seconds of `time.monotonic`.
    rehearsal
        Whether to use small inputs.
    seed
        Random seed of boxes and weights.
    """

    out: Path
    device: torch.device
    deadline: float
    rehearsal: bool = False
    seed: int = 1

    @property
    def left(self) -> float:
        """Seconds left until the deadline."""
        return self.deadline - time.monotonic()


def compare(session: Session) -> None:
    """Compare results of the device with those of the processor; in a rehearsal, two threads with one.

    Raises
    ------
    DataError
        If a difference exceeds its tolerance.
    """
    reference = Side(CPU, 1) if session.device == CPU else Side(CPU)
    other = Side(session.device, 2 if session.device == CPU else None)
    path = session.out / "comparison.tsv"
    extent = REHEARSAL if session.rehearsal else FULL
    table = compare_devices(reference, other, extent, lambda rows: write_table(path, rows))
    if failed := failures(table):
        raise DataError(
            f"tolerance exceeded or stage failed: {', '.join(failed)}",
            file=path,
            remedy="see the rows with passed = False",
        )


def measure(session: Session) -> None:
    """Measure the speed of training and embedding for each network, compiled networks last."""
    device = session.device
    cases = throughput.cases(device)
    if session.rehearsal:
        cases = [throughput.Case("tiny", lambda: Yopo((4,), 8), True, 16, 8)]
    peak = throughput.peak_tflops(device, 16_384 if device.type == "cuda" else 512)
    points = 300 if session.rehearsal else throughput.POINTS
    mixture = throughput.mixture_seconds(device, points)
    number_format = "bfloat16" if has_fast_bfloat16(device) else "single precision"
    tables: list[pd.DataFrame] = []
    for compile_too in (False, True) if device.type == "cuda" else (False,):
        for case in cases:
            if session.left < 0:
                return
            table = throughput.measure_throughput(device, [case], compile_too)
            tables = [*tables[:-1], table] if compile_too and len(cases) == 1 else [*tables, table]
            rows = pd.concat(tables, ignore_index=True).drop_duplicates(["network", "work"], keep="last")
            hardware = describe_hardware(device)
            section = throughput.throughput_section(rows, peak, mixture, hardware, number_format, points)
            write_text(session.out / "throughput.md", section)


def train(session: Session, recipe_name: str, file: str) -> None:
    """Train an encoder by a recipe shortened to the available time, and write it at intervals.

    Parameters
    ----------
    session
        Its deadline ends the training.
    recipe_name
        Name of a file in benchmarks/recipes.
    file
        Name of the weights in the session's folder.
    """
    recipe = recipe_from_mapping(read_yaml(FOLDER / "recipes" / f"{recipe_name}.yaml"))
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
    """Return a recipe with few small classes and few steps, for rehearsals."""
    classes = tuple(replace(one, count=2, largest_radius=60.0, templates=()) for one in recipe.classes[:1])
    stages = tuple(replace(one, boxes=64, batch_size=8, conditions=1) for one in recipe.stages)
    return replace(recipe, classes=classes, stages=stages, widths=tuple(w // 4 for w in recipe.widths))


def shortened(recipe: Recipe, fraction: float) -> Recipe:
    """Return the recipe with a fraction of the boxes in every stage, at least one batch."""
    return replace(
        recipe,
        stages=tuple(
            replace(one, boxes=max(one.batch_size, int(one.boxes * fraction))) for one in recipe.stages
        ),
    )


def _fraction(session: Session, recipe: Recipe, make: Callable[[Recipe], PretrainingRun]) -> float:
    """Return the fraction of a recipe that fits into the available time, from timing a few steps of each stage."""
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
        # the first steps are slower, because the simulator has to fill its buffers: time the second half
        half = ticks[len(ticks) // 2]
        pace = (time.monotonic() - half) / (len(ticks) - len(ticks) // 2)
        logger.info(
            "%d steps in %.1f s, %.4f s per step at the end, %.1f s of setup", count, spent, pace, setup
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
    """Run tables, fastest first, with the shipped encoder and those trained in this session, until the deadline."""
    encoders: dict[str, str | None] = {"shipped": None}
    encoders |= {path.stem: str(path) for path in sorted(session.out.glob("encoder*.safetensors"))}
    rows: list[pd.DataFrame] = []
    for plan_name, learner in TABLES[:1] if session.rehearsal else TABLES:
        plan = read_plan(FOLDER / "plans" / f"{plan_name}.yaml")
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
