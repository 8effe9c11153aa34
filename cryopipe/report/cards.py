"""Content of each cluster's card: pictures of the average, curves, figures."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup

from cryopipe import columns
from cryopipe.files.cluster_averages import RESOLUTION_05, ClusterAverage
from cryopipe.palette import cluster_colour, cluster_marker
from cryopipe.report.charts import Axis, Band, Line, line_chart, number_axis, resolution_axis
from cryopipe.report.pictures import central_slices
from cryopipe.report.results import RunResults
from cryopipe.report.summary import mean_posterior, number_text, resolution, resolution_text
from cryopipe.report.surface_field import surface_field
from cryopipe.volume.masks import radial_profile

logger = logging.getLogger(__name__)

HOLLOW = 0.5
"""A map is reported as hollow if its central density is below this fraction of that of its densest shell."""
FSC_COLUMNS = (
    ("rlnFourierShellCorrelationCorrected", "corrected for the mask", "main"),
    ("rlnFourierShellCorrelationUnmaskedMaps", "without a mask", "second"),
    ("rlnFourierShellCorrelationMaskedMaps", "inside the mask", "third"),
    ("rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps", "phases randomised", "fourth"),
)


@dataclass(frozen=True)
class ClusterCard:
    """One cluster on the page; pictures and charts are empty if there is no average.

    Attributes
    ----------
    number, name, colour, marker
        Cluster number, title, and the colour and marker of its particles.
    verdict
        What the cluster is likely to be, and why; empty texts if unknown.
    figures
        Pairs of a label and a text.
    count
        Number of particles.
    surface, width
        See `surface_field`.
    slices
        Pairs of a caption and a picture's data address.
    charts
        Pairs of a caption and an SVG chart.
    decoded
        Pairs of a plane and a picture of the decoded map, for generative learners.
    """

    number: int
    name: str
    colour: str
    marker: str
    verdict: tuple[str, str]
    figures: list[tuple[str, str]]
    count: int
    surface: dict[str, Any] | None
    width: str
    slices: list[tuple[str, str]]
    charts: list[tuple[str, Markup]]
    decoded: list[tuple[str, str]]


def cluster_card(results: RunResults, number: int) -> ClusterCard:
    """Return the card of one cluster."""
    average = results.averages.get(number)
    surface, width = None, ""
    slices: list[tuple[str, str]] = []
    charts: list[tuple[str, Markup]] = []
    if average is not None:
        surface, width = surface_field(average.volume, average.voxel_size, cluster_colour(number))
        slices = list(central_slices(average.volume).items())
        charts = _charts(number, average, _band(results, number))
        logger.info("drew cluster %d", number)
    return ClusterCard(
        number,
        results.name_of(number).replace("cluster", "Cluster", 1),
        cluster_colour(number),
        cluster_marker(number),
        results.verdict_of.get(number, ("", "")),
        _figures(results, number, average),
        int(np.sum(results.classes == number)),
        surface,
        width,
        slices,
        charts,
        list(central_slices(results.decoded[number]).items()) if number in results.decoded else [],
    )


def _figures(results: RunResults, number: int, average: ClusterAverage | None) -> list[tuple[str, str]]:
    members = results.classes == number
    fraction = members.sum() / max(len(results.particles), 1)
    figures = [
        ("particles", f"{int(members.sum()):,} ({fraction:.0%} of all)"),
        ("mean posterior", number_text(mean_posterior(results, number), ".2f")),
        ("resolution at FSC 0.143", resolution_text(resolution(results, number))),
    ]
    if average is None:
        return figures
    coarse = float(average.figures.get(RESOLUTION_05, np.nan))
    figures.append(("resolution at FSC 0.5", resolution_text(coarse)))
    if columns.CTF_LIMIT in average.figures:
        zero = resolution_text(float(average.figures[columns.CTF_LIMIT]))
        figures.append(("finest resolution, the first zero of the CTF (not corrected)", zero))
    kept = average.particles.get(columns.ALIGNMENT_KEPT)
    if kept is not None and len(kept):
        figures.append(("particles in the average", f"{int(kept.sum()):,} of {len(kept):,}"))
    score = average.particles.get(columns.ALIGNMENT_SCORE)
    if score is not None and len(score):
        figures.append(("median alignment score", number_text(float(score.median()), ".2f")))
    figures += _triage_figures(results, number)
    figures += _decoy_figures(results, number)
    box = average.volume.shape[-1]
    figures.append(("box", f"{box} voxels of {average.voxel_size:.4g} Å"))
    return figures


def _triage_figures(results: RunResults, number: int) -> list[tuple[str, str]]:
    """Return the figures of a cluster in the table of triage; the diameter is that of its verdict, if it has one."""
    triage, verdicts = results.triage, results.verdicts
    rows = triage[triage["cluster"] == number] if "cluster" in triage else triage
    if not len(rows):
        return []
    row = rows.iloc[0]
    known = verdicts[verdicts["cluster"] == number] if "diameter" in verdicts else verdicts.iloc[:0]
    diameter = float(known["diameter"].iloc[0]) if len(known) else float(row["diameter"])
    figures = [("diameter", f"{number_text(diameter / 10, '.1f')} nm")]
    if row["centre_density"] < HOLLOW:
        shell = f"{number_text(row['shell_radius'] / 10, '.1f')} nm"
        figures.append(("hollow; radius of the densest shell", shell))
    half, mirror = (number_text(row[name], ".2f") for name in ("half_correlation", "mirror_correlation"))
    figures.append(("hand test: correlation of half-maps; with one mirrored", f"{half}, {mirror}"))
    if row.get("symmetry"):
        score = "" if row["symmetry"] == "C1" else f" ({number_text(row['symmetry_score'], '.2f')})"
        figures.append(("point group that fits, not imposed (score)", f"{row['symmetry']}{score}"))
    if row["best_match"]:
        correlation = number_text(row["match_correlation"], ".2f")
        figures.append(("best match of known maps (correlation)", f"{row['best_match']} ({correlation})"))
    return figures


def _decoy_figures(results: RunResults, number: int) -> list[tuple[str, str]]:
    """Return what decoys say about a cluster; empty without decoys."""
    verdicts = results.verdicts
    rows = verdicts[verdicts["cluster"] == number] if "q" in verdicts else verdicts.iloc[:0]
    if not len(rows):
        return []
    row = rows.iloc[0]
    return [
        ("q-value: false discovery rate at which it is accepted", number_text(float(row["q"]), ".2g")),
        ("finest resolution of averages of as many decoys", resolution_text(float(row["finest_decoy"]))),
        ("picked noise among its particles", number_text(100 * float(row["false_fraction"]), ".0f") + " %"),
        ("purity", number_text(100 * float(row["purity"]), ".0f") + " %"),
    ]


def _band(results: RunResults, number: int) -> pd.DataFrame:
    """Return the Fourier shell correlations of averages of decoys at the size of a cluster; empty without decoys."""
    bands = results.bands
    return bands[bands["cluster"] == number] if "cluster" in bands else bands


def _charts(number: int, average: ClusterAverage, band: pd.DataFrame) -> list[tuple[str, Markup]]:
    charts = []
    curve = fsc_chart(number, average.fsc, band)
    if curve is not None:
        decoys = "; grey: averages of as many decoys" if len(band) else ""
        charts.append((f"Fourier shell correlation of the half-maps{decoys}", curve))
    densities = radial_profile(torch.from_numpy(average.volume)).numpy()
    radii = np.arange(len(densities)) * average.voxel_size
    profile = line_chart(
        f"Mean density of cluster {number} against the distance from its centre",
        [Line("mean density", radii / 10, densities)],
        number_axis("distance from the centre, nm", radii / 10, [0.0]),
        number_axis("density", densities, [0.0]),
    )
    charts.append(("Density against radius", profile))
    return charts


def fsc_chart(number: int, fsc: pd.DataFrame, band: pd.DataFrame | None = None) -> Markup | None:
    """Draw the FSC curves of a table with the band of decoys, if there is one; None without curves."""
    known = [(column, name, style) for column, name, style in FSC_COLUMNS if column in fsc]
    if not known or not len(fsc):
        return None
    frequency = _frequency(fsc)
    lines = [Line(name, frequency, fsc[column].to_numpy(float), style) for column, name, style in known]
    bands = []
    if band is not None and len(band):
        x, low, high = (band[name].to_numpy(float) for name in ("frequency", "lowest", "highest"))
        bands.append(Band("averages of as many decoys", x, low, high))
    correlation = Axis("correlation", 0.0, 1.0, [(i / 4, f"{i / 4:g}") for i in range(5)])
    levels = [(0.143, "0.143"), (0.5, "0.5")]
    title = f"Fourier shell correlation of cluster {number}"
    return line_chart(title, lines[::-1], resolution_axis(frequency), correlation, levels, bands)


def _frequency(fsc: pd.DataFrame) -> np.ndarray:
    """Return 1/angstrom per shell, the unit of RELION's rlnResolution."""
    if "rlnResolution" in fsc:
        return fsc["rlnResolution"].to_numpy(float)
    resolutions = fsc["rlnAngstromResolution"].to_numpy(float)
    return np.where(np.isfinite(resolutions) & (resolutions > 0), 1 / np.maximum(resolutions, 1e-9), 0.0)
