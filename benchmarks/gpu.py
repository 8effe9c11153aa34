"""Session on a machine with a GPU: each part in its own process with a time budget, and a summary.

    python -m benchmarks.gpu OUT --minutes 8
    python -m benchmarks.gpu OUT --adopt      (writes OUT/throughput.md into its section of docs/throughput.md)

A part that fails or exceeds its time does not stop the others; the files it has written are kept. The exit status
is 0 if all parts passed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cryopipe.files.atomic import write_text
from cryopipe.files.tables import read_table

CHECKOUT = Path(__file__).resolve().parents[1]
WEIGHTS = {"comparison": 18, "throughput": 18, "encoder": 26, "larger encoder": 22, "tables": 14}
"""Parts in order, with their weights in the total time; unused time is passed to the following parts."""
GRACE = 0.15
"""A part is killed when it exceeds its budget by this fraction."""
END = 5.0
"""Seconds reserved for the summary."""


@dataclass(frozen=True)
class Outcome:
    """Status of a part ("passed", "failed" or "stopped"), its seconds, and its last message."""

    part: str
    status: str
    seconds: float
    message: str = ""


def run_session(arguments: argparse.Namespace) -> list[Outcome]:
    """Run the parts in order and write the summary after each."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    end = started + 60 * arguments.minutes - END
    chosen = {name: weight for name, weight in WEIGHTS.items() if name in (arguments.parts or WEIGHTS)}
    outcomes: list[Outcome] = []
    for number, name in enumerate(chosen):
        rest = sum(list(chosen.values())[number:])
        left = end - time.monotonic()
        budget = left * chosen[name] / rest / (1 + GRACE)
        outcomes.append(_run_part(arguments, name, budget, min(left, budget * (1 + GRACE))))
        write_text(out / "summary.md", summary(out, outcomes, arguments.device))
    return outcomes


def _run_part(arguments: argparse.Namespace, name: str, budget: float, limit: float) -> Outcome:
    """Run one part in its own process, which is killed after `limit` seconds."""
    command = [sys.executable, "-m", "benchmarks.gpu", str(arguments.out), "--part", name]
    command += ["--seconds", f"{budget:.1f}", "--device", arguments.device]
    command += ["--rehearse"] if arguments.rehearse else []
    started = time.monotonic()
    with (arguments.out / "log.txt").open("a+", encoding="utf-8") as log:
        log.write(f"== {name}, {budget:.0f} s\n")
        log.flush()
        try:
            ended = subprocess.run(
                command, stdout=log, stderr=log, cwd=CHECKOUT, timeout=max(limit, 1.0), check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome(name, "stopped", time.monotonic() - started, "time limit reached")
    seconds = time.monotonic() - started
    if ended.returncode == 0:
        return Outcome(name, "passed", seconds)
    words = (arguments.out / "log.txt").read_text(encoding="utf-8").strip().splitlines()
    return Outcome(name, "failed", seconds, f"status {ended.returncode}: {words[-1]}")


def summary(out: Path, outcomes: Sequence[Outcome], device: str) -> str:
    """Return the summary of the results in `out` in Markdown."""
    lines = [
        "# A session on a GPU",
        "",
        f"Device: {device}.",
        "",
        "| part | status | seconds | |",
        "|---|---|---:|---|",
    ]
    lines += [f"| {one.part} | {one.status} | {one.seconds:.0f} | {one.message} |" for one in outcomes]
    comparison, training, tables = (
        _table(out / f"{name}.tsv") for name in ("comparison", "training", "tables")
    )
    if comparison is not None:
        lines += ["", "| stage | figure | difference | tolerance | |", "|---|---|---:|---:|---|"]
        for row in comparison.to_dict("records"):
            verdict = "" if str(row["passed"]) == "True" else "**beyond**"
            what = row["quantity"] if isinstance(row["quantity"], str) else row["error"]
            lines.append(
                f"| {row['stage']} | {what} | {row['difference']:.3g} | {row['tolerance']:.3g} | {verdict} |"
            )
    if training is not None and len(training):
        lines += ["", "| encoder | stage | step | loss | accuracy |", "|---|---:|---:|---:|---:|"]
        for row in training.groupby("encoder", sort=False).tail(1).to_dict("records"):
            lines.append(
                f"| {row['encoder']} | {row['stage']} | {row['step']} | {row['loss']:.3f} | {row['accuracy']:.3f} |"
            )
    if tables is not None:
        keys = ["table", "condition", "learner", "encoder"]
        lines += [
            "",
            "| table | condition | learner | encoder | seeds | accuracy |",
            "|---|---|---|---|---:|---:|",
        ]
        for key, group in tables.groupby(keys, sort=False):
            lines.append(f"| {' | '.join(map(str, key))} | {len(group)} | {group['accuracy'].mean():.3f} |")
    return "\n".join([*lines, ""])


def _table(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.is_file() else None


def adopt(out: Path, page: Path) -> None:
    """Write the throughput of a session into its section of the page."""
    from benchmarks.pages import rewrite_page
    from benchmarks.throughput import PAGE_HEADING

    rewrite_page(page, {"cuda": (out / "throughput.md").read_text(encoding="utf-8")}, PAGE_HEADING)


def main(words: Sequence[str] | None = None) -> int:
    """Run a session or one part of it; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit of the whole session")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--rehearse", action="store_true", help="use small inputs")
    parser.add_argument("--parts", nargs="+", choices=WEIGHTS, help="only these parts")
    parser.add_argument(
        "--adopt", action="store_true", help="write the throughput in OUT into docs/throughput.md"
    )
    parser.add_argument("--part", choices=WEIGHTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    arguments.out = arguments.out.resolve()
    if arguments.adopt:
        adopt(arguments.out, CHECKOUT / "docs" / "throughput.md")
        return 0
    if arguments.part:
        return _work(arguments)
    outcomes = run_session(arguments)
    print((arguments.out / "summary.md").read_text(encoding="utf-8"))
    return 0 if all(one.status == "passed" for one in outcomes) else 1


def _work(arguments: argparse.Namespace) -> int:
    """Run one part in this process."""
    started = time.monotonic()
    from benchmarks.gpu_parts import PARTS, Session
    from cryopipe.job import report, start_logging
    from cryopipe.volume.device import choose_device

    start_logging()
    try:
        device = choose_device(arguments.device)
        session = Session(arguments.out, device, started + arguments.seconds, arguments.rehearse)
        PARTS[arguments.part](session)
    except Exception as error:
        traceback.print_exc()
        return report(error, None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
