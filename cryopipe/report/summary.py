"""Text summary of a run's results."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.curation.apply import OPEN
from cryopipe.report.results import RunResults


def headline(results: RunResults) -> str:
    """Return one sentence with the numbers of particles, clusters and unassigned particles."""
    tomograms = _count(len(results.tomograms), "tomogram")
    if not len(results.particles):
        return f"No particles were found in {tomograms}."
    particles = _count(len(results.particles), "particle")
    clusters = results.cluster_numbers
    unassigned = float(np.mean(results.classes == columns.UNASSIGNED))
    if not clusters:
        return f"{particles} in {tomograms}, none assigned to a cluster."
    rest = (
        f"{unassigned:.0%} of the particles are unassigned" if unassigned else "no particles are unassigned"
    )
    return f"{particles} in {tomograms}, {_count(len(clusters), 'cluster')}; {rest}."


def summary_text(results: RunResults, report: str) -> str:
    """Return the text summary that is printed at the end of a run.

    Parameters
    ----------
    results
        Results of the run.
    report
        Path of the report, for the last line.
    """
    lines = ["", headline(results)]
    if results.cluster_numbers:
        lines += ["", f"{'cluster':>9} {'particles':>10} {'posterior':>10} {'resolution':>11}  likely to be"]
    for number in results.listed_numbers:
        members = results.classes == number
        posterior = mean_posterior(results, number)
        lines.append(
            f"{number:>9} {int(members.sum()):>10,} {number_text(posterior, '.2f'):>10} "
            f"{resolution_text(resolution(results, number)):>11}"
            f"  {_likely(results, number)}".rstrip()
        )
    lines += _doubles(results.triage)
    lines += _decisions(results)
    lines += _symmetries(results.triage)
    lines += _problems(results.check)
    scores = _scores(results)
    if scores:
        lines += ["", "Against the truth: " + ", ".join(scores) + "."]
    lines += ["", f"Report: {report}", ""]
    return "\n".join(lines)


def _likely(results: RunResults, number: int) -> str:
    """Return a cluster's name, if it has one, the user's decision, and its verdict with the reason."""
    verdict = ": ".join(results.verdict_of.get(number, ()))
    name = results.name_of(number).partition(": ")[2]
    state = ""
    if columns.DECISION in results.particles:
        states = set(results.particles[columns.DECISION][results.classes == number])
        state = states.pop().upper() if len(states) == 1 and states != {OPEN} else ""
    return "; ".join(text for text in (name, state, verdict) if text)


def _decisions(results: RunResults) -> list[str]:
    """Return one line per decision of the user that was not applied, or only in part."""
    rows = [] if results.past is None else results.past.not_applied.fillna("").to_dict("records")
    return (
        ["", *(f"Decision {row['outcome']}: {row['decision']}: {row['detail']}" for row in rows)]
        if rows
        else []
    )


def mean_posterior(results: RunResults, cluster: int) -> float:
    """Return the mean posterior of a cluster's particles; NaN if unknown."""
    if columns.POSTERIOR not in results.particles:
        return math.nan
    return float(results.particles[columns.POSTERIOR][results.classes == cluster].mean())


def resolution(results: RunResults, cluster: int) -> float:
    """Return the resolution of a cluster's average at FSC 0.143, angstrom; NaN if not reported."""
    average = results.averages.get(cluster)
    return average.resolution if average is not None and math.isfinite(average.resolution) else math.nan


def number_text(value: float, form: str = ".3g") -> str:
    """Return a number formatted for a table; an en dash if it is not finite."""
    return format(value, form) if math.isfinite(value) else "–"


def resolution_text(value: float) -> str:
    """Return a resolution with its unit; an en dash if it is not finite."""
    return f"{value:.1f} Å" if math.isfinite(value) else "–"


def _doubles(triage: pd.DataFrame) -> list[str]:
    """Return a line with the number of doubles, if there are any."""
    count = int(triage["doubles"].sum()) if "doubles" in triage else 0
    if not count:
        return []
    clusters = ", ".join(str(number) for number in triage.loc[triage["doubles"] > 0, "cluster"])
    return ["", f"Doubles: {_count(count, 'particle')} at the place of a better one, left out of the averages of "
            f"{'cluster' if ',' not in clusters else 'clusters'} {clusters} (cryopipeDoubleOf)."]  # fmt: skip


def _symmetries(triage: pd.DataFrame) -> list[str]:
    """Return one line per cluster whose average fits a point group."""
    if "symmetry" not in triage:
        return []
    rows = triage[~triage["symmetry"].fillna("").isin(["", "C1"])]
    lines = [f"Symmetry: the average of cluster {row['cluster']} fits {row['symmetry']} (score {row['symmetry_score']:.2f}); "
             "it was not imposed (averaging.symmetry)." for _, row in rows.iterrows()]  # fmt: skip
    return ["", *lines] if lines else []


def _problems(check: pd.DataFrame) -> list[str]:
    """Return one line per problem of the input check."""
    if "problem" not in check:
        return []
    name = "tomogram" if "tomogram" in check else check.columns[0]
    rows = check[check["problem"].fillna("").astype(str) != ""]
    return ["", *(f"Note: {row[name]}: {row['problem']}" for _, row in rows.iterrows())] if len(rows) else []


def _scores(results: RunResults) -> list[str]:
    found = []
    picking = results.evaluation.get("picking", pd.DataFrame())
    if len(picking):
        row = picking.iloc[0]
        found.append(f"picking recall {row['recall']:.2f}, precision {row['precision']:.2f}")
    clusters = results.evaluation.get("clusters", pd.DataFrame())
    if len(clusters):
        row = clusters.iloc[0]
        found.append(f"clusters V {row['v_measure']:.2f}, accuracy {row['accuracy']:.2f}")
    return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
