"""The measurement of posteriors and noise class as a section of the benchmarks' page."""

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
    "empty_in_noise": "empty: in noise",
    "empty_apart": "empty: in clusters of their own",
    "empty_astray": "empty: among particles",
    "particles_in_noise": "particles: in noise",
    "particles_lost": "particles: in clusters of empty boxes",
}


def posterior_section(options: PosteriorOptions, runs: PosteriorRuns, size: str, hardware: str) -> str:
    """Return the section in Markdown; `size` and `hardware` in words."""
    boxes = options.classes * options.boxes_per_class
    lines = [
        "## Noise class and posteriors",
        "",
        f"`snakemake -s benchmarks/Snakefile --cores all benchmark_noise_and_posteriors`, size **{size}**: {boxes} boxes of {options.classes} "
        f"procedural phantoms (from seed {options.first_seed}) and {options.empty_boxes} boxes of noise without a "
        f"particle, {options.box_size}³ voxels of {options.voxel_size:g} Å, centres displaced by up to "
        f"{options.displacement:g} Å; features of the transfer encoder; clustering as in a run, with its default "
        f"options; seeds {', '.join(map(str, options.seeds))}; on {hardware}.",
        "",
        "Where boxes without a particle go, and what it costs in particles. They are alike and form clusters of their "
        "own, whose averages show nothing; the noise class takes what fits no cluster.",
        "",
        *noise_table(runs.noise),
        "",
        "What a posterior means: share of the particles whose class is the one that prevails in their cluster, by "
        "posterior, before and after calibration by the agreement of half-sets (which knows no truth). All seeds "
        "together, particles alone, none left out. Where two classes lie in one cluster, no posterior can tell.",
        "",
        *reliability_table(runs.reliability),
        "",
        f"Expected calibration error, and the share that is right of the particles with posteriors from {THRESHOLD:g} "
        "on; mean ± standard deviation over the seeds.",
        "",
        *summary_table(runs.reliability),
        "",
    ]
    return "\n".join(lines)


def noise_table(noise: pd.DataFrame) -> list[str]:
    """Return the rates of the noise class, mean and deviation over the seeds, as lines of Markdown."""
    lines = _head(["SNR", "boxes", *RATES.values()], 2)
    for (snr, contents), group in noise.groupby(["snr", "contents"], sort=False):
        cells = [_spread(group[name], ".1f" if name == "clusters" else ".3f") for name in RATES]
        lines.append(_row([f"{snr:g}", str(contents), *cells]))
    return lines


def reliability_table(bins: pd.DataFrame) -> list[str]:
    """Return count and share right of every bin before and after calibration, as lines of Markdown."""
    columns = ["SNR", "K", "posterior", "before: particles", "right", "after: particles", "right"]
    lines = _head(columns, 3)
    for (snr, number), group in bins.groupby(["snr", "number"], sort=False):
        for (low, high), part in group.groupby(["low", "high"]):
            cells = [f"{snr:g}", str(number), f"{low:g} to {high:g}"]
            for calibrated in (False, True):
                chosen = part[part["calibrated"] == calibrated]
                count = int(chosen["count"].sum())
                share = (chosen["right"] * chosen["count"]).sum() / count if count else math.nan
                cells += [str(count), "" if math.isnan(share) else f"{share:.3f}"]
            lines.append(_row(cells))
    return lines


def summary_table(bins: pd.DataFrame) -> list[str]:
    """Return calibration error and precision before and after calibration, as lines of Markdown."""
    columns = [
        "SNR",
        "K",
        "posteriors",
        "calibration error",
        f"right from {THRESHOLD:g} on",
        "share of particles",
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
                    _spread(pd.Series([calibration_error(part) for part in parts])),
                    _spread(pd.Series([precision(part) for part in parts])),
                    _spread(pd.Series(kept)),
                ]
            )
        )
    return lines


def _head(columns: list[str], texts: int) -> list[str]:
    return [_row(columns), "|" + "---|" * texts + "---:|" * (len(columns) - texts)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(values: pd.Series, form: str = ".3f") -> str:
    if values.isna().all():
        return ""
    deviation = values.std()
    return f"{values.mean():{form}}" + ("" if math.isnan(deviation) else f" ± {deviation:{form}}")
