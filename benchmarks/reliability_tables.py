"""Section of docs/benchmarks.md on unassigned particles and posteriors."""

from __future__ import annotations

import math

import pandas as pd

from benchmarks.reliability import (
    THRESHOLD,
    PosteriorOptions,
    PosteriorRuns,
    calibration_error,
    precision,
)

RATES = {
    "clusters": "clusters",
    "empty_unassigned": "empty: unassigned",
    "empty_in_own_clusters": "empty: in own clusters",
    "empty_among_particles": "empty: in clusters of particles",
    "particles_unassigned": "particles: unassigned",
    "particles_among_empty": "particles: in clusters of empty boxes",
}


def posterior_section(options: PosteriorOptions, runs: PosteriorRuns, size: str, hardware: str) -> str:
    """Return the section in Markdown; `size` and `hardware` are descriptions."""
    boxes = options.classes * options.boxes_per_class
    lines = [
        "## Unassigned particles and posteriors",
        "",
        f"`snakemake -s benchmarks/Snakefile --cores all benchmark_unassigned_and_posteriors`, size **{size}**: {boxes} boxes of {options.classes} "
        f"procedural phantoms (from seed {options.first_seed}) and {options.empty_boxes} boxes without a "
        f"particle, {options.box_size}³ voxels of {options.voxel_size:g} Å, centres displaced by up to "
        f"{options.displacement:g} Å; features of the transfer encoder; clustering as in a run, with its default "
        f"options; seeds {', '.join(map(str, options.seeds))}; on {hardware}.",
        "",
        "Assignment of boxes without a particle (empty boxes), and the particles lost by it. Empty boxes are similar to "
        "each other and form clusters of their own, whose averages contain no structure; boxes that fit no cluster are "
        "unassigned (class 0).",
        "",
        *assignment_table(runs.assignment),
        "",
        'Accuracy by posterior: fraction of particles ("right") whose class is the majority class of their cluster, '
        "before and after calibration by the agreement of half-sets (which does not use the truth). All seeds pooled; "
        "particles only; all particles assigned. Posteriors cannot show that a cluster contains two classes.",
        "",
        *reliability_table(runs.reliability),
        "",
        f"Expected calibration error, and the right fraction of the particles with posteriors of at least "
        f"{THRESHOLD:g}; mean ± standard deviation over the seeds.",
        "",
        *summary_table(runs.reliability),
        "",
    ]
    return "\n".join(lines)


def assignment_table(rates: pd.DataFrame) -> list[str]:
    """Return the rates, mean ± standard deviation over the seeds, as lines of Markdown."""
    lines = _head(["SNR", "boxes", *RATES.values()], 2)
    for (snr, contents), group in rates.groupby(["snr", "contents"], sort=False):
        cells = [_mean_and_deviation(group[name], ".1f" if name == "clusters" else ".3f") for name in RATES]
        lines.append(_row([f"{snr:g}", str(contents), *cells]))
    return lines


def reliability_table(bins: pd.DataFrame) -> list[str]:
    """Return count and right fraction of every bin before and after calibration, as lines of Markdown."""
    columns = ["SNR", "K", "posterior", "before: particles", "right", "after: particles", "right"]
    lines = _head(columns, 3)
    for (snr, number), group in bins.groupby(["snr", "number"], sort=False):
        for (low, high), part in group.groupby(["low", "high"]):
            cells = [f"{snr:g}", str(number), f"{low:g} to {high:g}"]
            for calibrated in (False, True):
                chosen = part[part["calibrated"] == calibrated]
                count = int(chosen["count"].sum())
                fraction = (chosen["right"] * chosen["count"]).sum() / count if count else math.nan
                cells += [str(count), "" if math.isnan(fraction) else f"{fraction:.3f}"]
            lines.append(_row(cells))
    return lines


def summary_table(bins: pd.DataFrame) -> list[str]:
    """Return calibration error and precision before and after calibration, as lines of Markdown."""
    columns = [
        "SNR",
        "K",
        "posteriors",
        "calibration error",
        f"right, posterior >= {THRESHOLD:g}",
        "fraction of particles",
    ]
    lines = _head(columns, 3)
    for (snr, number, calibrated), group in bins.groupby(["snr", "number", "calibrated"], sort=False):
        parts = [part for _, part in group.groupby("seed")]
        kept = [part.loc[part["low"] >= THRESHOLD, "count"].sum() / part["count"].sum() for part in parts]
        lines.append(
            _row(
                [
                    f"{snr:g}",
                    str(number),
                    "after" if calibrated else "before",
                    _mean_and_deviation(pd.Series([calibration_error(part) for part in parts])),
                    _mean_and_deviation(pd.Series([precision(part) for part in parts])),
                    _mean_and_deviation(pd.Series(kept)),
                ]
            )
        )
    return lines


def _head(columns: list[str], texts: int) -> list[str]:
    return [_row(columns), "|" + "---|" * texts + "---:|" * (len(columns) - texts)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _mean_and_deviation(values: pd.Series, form: str = ".3f") -> str:
    if values.isna().all():
        return ""
    deviation = values.std()
    return f"{values.mean():{form}}" + ("" if math.isnan(deviation) else f" ± {deviation:{form}}")
