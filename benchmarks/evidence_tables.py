"""Tables of the runs that compare classes with decoys, for docs/evidence.md."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.evidence_cases import VOXEL, Case, cases_of
from benchmarks.evidence_protocol import SIGNIFICANT, TRUE_CLASS, Outcome, run_case
from cryopipe import columns
from cryopipe.averaging.verdicts import MIXTURE, PARTICLE
from cryopipe.files.tables import read_table, write_table

PARTICLES = (PARTICLE, MIXTURE)
TEXTS = ("case", "mass", "picked", "found")
COUNTS = ("classes", "true", "accepted", "accepted_true", "resolutions", "particles")


def figures_of(case: Case, seed: int, outcome: Outcome) -> dict[str, object]:
    """Return one row of the table of runs."""
    classes, particles, seconds = outcome.classes, outcome.particles, outcome.seconds
    planted = outcome.planted.to_dict("list")
    accepted = classes[classes["q"] < SIGNIFICANT] if "q" in classes else classes.iloc[:0]
    real = classes[classes["true_fraction"] > TRUE_CLASS]
    rates = particles.get(columns.FALSE_DISCOVERY, pd.Series(dtype=float))
    decoys = sum(value for name, value in seconds.items() if name.startswith("decoys"))
    return {
        "case": case.name,
        "seed": seed,
        "copies": case.copies,
        "contrast": case.contrast,
        "classes": len(classes),
        "true": len(real),
        "accepted": len(accepted),
        "accepted_true": int((accepted["true_fraction"] > TRUE_CLASS).sum()),
        "resolutions": int((classes["resolution"].notna() & (classes["true_fraction"] <= TRUE_CLASS)).sum()),
        "stated": float(rates.mean()),
        "noise": float(1 - particles["true"].mean()) if "true" in particles else np.nan,
        "particles": int(
            (classes["verdict"].isin(PARTICLES) & (classes["true_fraction"] <= TRUE_CLASS)).sum()
        ),
        **{name: ",".join(str(value) for value in planted[name]) for name in ("mass", "picked", "found")},
        "seconds": sum(seconds.values()),
        "extra_time": decoys / max(1e-9, sum(seconds.values()) - decoys),
    }


def measure(folder: Path, size: str, minutes: float | None = None) -> pd.DataFrame:
    """Make the runs of a benchmark that are not finished, and return all that are.

    Parameters
    ----------
    folder
        One table per finished run; runs whose table is there are not repeated.
    size
        See `cases_of`.
    minutes
        Time after which no further run is started; None for no limit.

    Returns
    -------
    One row per finished run, see `figures_of`.
    """
    started = time.monotonic()
    rows = []
    for case, seed in cases_of(size):
        path = folder / size / f"{case.name}_{seed}.tsv"
        if not path.exists():
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                continue
            with tempfile.TemporaryDirectory() as work:
                figures = figures_of(case, seed, run_case(case, seed, Path(work)))
            write_table(path, pd.DataFrame([figures]))
        rows.append(read_table(path, TEXTS))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def section(runs: pd.DataFrame, hardware: str) -> str:
    """Return the section of docs/evidence.md from a table of `figures_of`."""
    lines = [
        f"Processor time on {hardware}. *Resolutions* and *called particles* are those of classes that are not one "
        "species. *Noise*: mean local false discovery rate stated / true fraction of picks without a particle.",
        "",
        "| tomograms | runs | classes | of one species | q < 0.05 | of these true | resolutions | called particles | noise "
        "| extra time |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rows in runs.groupby("case", sort=False):
        counts = [int(rows[key].sum()) for key in COUNTS]
        noise = f"{rows['stated'].mean():.2f} / {rows['noise'].mean():.2f}"
        cells = [name, len(rows), *counts, noise, f"{rows['extra_time'].median():.0%}"]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join([*lines, "", *_power(runs[runs["copies"] > 0])]) + "\n"


def _power(runs: pd.DataFrame) -> list[str]:
    """Return a table of the species that were found, by mass and copies."""
    cells: dict[tuple[float, int, float], list[bool]] = {}
    for row in runs.to_dict("records"):
        masses, found = (str(row[name]).split(",") for name in ("mass", "found"))
        for mass, word in zip(masses, found, strict=True):
            key = float(mass), int(row["copies"]), float(row["contrast"])
            cells.setdefault(key, []).append(word == "True")
    copies = sorted({key[1:] for key in cells})
    if not copies:
        return []
    head = " | ".join(f"{number} copies, contrast {contrast:g}" for number, contrast in copies)
    lines = [
        "Species of which a class with q < 0.05 consists for the most part / planted, by mass; contrast of protein over the "
        f"noise of a voxel of {VOXEL:g} Å:",
        "",
        f"| mass, kDa | {head} |",
        f"|---:|{'---:|' * len(copies)}",
    ]
    for heavy in sorted({key[0] for key in cells}):
        counted = [cells.get((heavy, *each), []) for each in copies]
        shown = " | ".join(f"{sum(one)} / {len(one)}" if one else "" for one in counted)
        lines.append(f"| {heavy:g} | {shown} |")
    return lines
