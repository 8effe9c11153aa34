"""Assessment of all classes by decoys."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.averaging.facts import ClusterFacts
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.particle_alignment import ctf_limit
from cryopipe.averaging.verdicts import FEWEST, Support, excluded_by_form
from cryopipe.evidence.densities import DecoyDensity, decoy_density, p_of_counts
from cryopipe.evidence.likeness import compare_with_decoys
from cryopipe.evidence.null_resolution import null_resolution
from cryopipe.evidence.purity import purity_of_class
from cryopipe.evidence.q_values import q_values
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.cluster_averages import ClusterAverage

logger = logging.getLogger(__name__)

FEWEST_DECOYS = 20
"""With fewer decoys nothing is said about classes."""
CLASSES = (
    *("cluster", "decoys", "p_decoys", "preference", "p_preference", "p", "finest_decoy", "false_fraction"),
    *("heterogeneity", "p_mixture", "larger_group", "purity"),
)
"""Columns of the table of classes."""
RATES = (columns.PARTICLE, columns.FALSE_DISCOVERY)
BAND = ("cluster", "frequency", "lowest", "highest")
"""Columns of the table of bands."""


@dataclass(frozen=True)
class Assessment:
    """What decoys say about all classes.

    Attributes
    ----------
    classes
        One row per class, see `CLASSES`: decoys in the class with their p-value, preference with its p-value (see `Likeness`),
        p (the larger of both), finest_decoy (angstrom), false_fraction (mean local false discovery rate), heterogeneity,
        p_mixture and larger_group (see `Purity`), and purity.
    particles
        One row per particle: name and local false discovery rate.
    bands
        The smallest and the largest Fourier shell correlation of averages of decoys, converted to the size of each class.
    """

    classes: pd.DataFrame
    particles: pd.DataFrame
    bands: pd.DataFrame


def assess_classes(
    clusters: Mapping[int, ClusterAverage],
    particles: tuple[pd.DataFrame, NDArray[np.float32]],
    decoys: tuple[pd.DataFrame, NDArray[np.float32]],
    boxes: BoxStack,
    curves: pd.DataFrame,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None = None,
) -> Assessment:
    """Assess all classes by decoys.

    With fewer decoys than `FEWEST_DECOYS`, the tables are empty.

    Parameters
    ----------
    clusters
        Averages with half-maps and aligned particles, by number.
    particles
        All particles with their classes, and their (n, d) features.
    decoys
        All decoys, and their (m, d) features.
    boxes
        Boxes for averaging of the aligned particles and the decoys.
    curves
        See `average_decoys`.
    options, seed, device
        As for `align_particles`.
    """
    table, features = particles
    names = table[columns.PARTICLE].astype(str).tolist()
    classes = table[columns.CLASS].to_numpy(np.int64)
    if len(decoys[0]) < FEWEST_DECOYS or len(table) < FEWEST:
        logger.warning("%d decoys are too few to assess classes", len(decoys[0]))
        return Assessment(*(pd.DataFrame(columns=list(names)) for names in (CLASSES, RATES, BAND)))
    density = decoy_density(features, decoys[1], classes)
    rates = density.false_discovery
    logger.info("%.0f %% of the picks are noise by the density of decoys", 100 * density.noise_fraction)
    row_of = {name: row for row, name in enumerate(names)}
    rows, bands = [], []
    for number, cluster in clusters.items():
        mine = features[[row_of[str(name)] for name in cluster.particles.get(columns.PARTICLE, [])]]
        row: dict[str, object] = {"cluster": number}
        compared = decoys[0], _sorted_decoys(number, mine, decoys[1], density)
        row |= _separation(number, cluster, classes, compared, density, boxes, options, seed, device)
        null = null_resolution(
            curves, _kept(cluster), max(options.finest_resolution, ctf_limit(cluster.particles))
        )
        row["finest_decoy"] = math.nan if null is None else null.finest
        members = classes == number
        false_fraction = float(rates[members].mean()) if members.any() else math.nan
        row["false_fraction"] = false_fraction
        purity = purity_of_class(cluster.particles, mine, boxes, options, seed, device)
        row |= {"heterogeneity": purity.ratio, "p_mixture": purity.p, "larger_group": purity.larger_group}
        row["purity"] = (1 - false_fraction) * purity.larger_group
        rows.append(row)
        if null is not None:
            shells = {"frequency": null.frequency, "lowest": null.lowest, "highest": null.highest}
            bands.append(pd.DataFrame({"cluster": number, **shells}))
        logger.info("cluster %d: %s", number, ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return Assessment(
        pd.DataFrame(rows, columns=list(CLASSES)),
        pd.DataFrame({columns.PARTICLE: names, columns.FALSE_DISCOVERY: rates}),
        pd.concat(bands, ignore_index=True) if bands else pd.DataFrame(columns=list(BAND)),
    )


def _kept(cluster: ClusterAverage) -> int:
    return int(cluster.particles[columns.ALIGNMENT_KEPT].sum()) if len(cluster.particles) else 0


def _sorted_decoys(
    number: int, mine: NDArray[np.float32], decoys: NDArray[np.float32], density: DecoyDensity
) -> NDArray[np.intp]:
    """Return the decoys in the order of comparison: those in the class, then the nearest to its mean features."""
    if not len(mine):
        return np.arange(len(decoys))
    apart = np.linalg.norm(decoys - mine.mean(axis=0), axis=1)
    return np.lexsort((apart, density.classes_of_decoys != number))


def _separation(
    number: int,
    cluster: ClusterAverage,
    classes: NDArray[np.int64],
    decoys: tuple[pd.DataFrame, NDArray[np.intp]],
    density: DecoyDensity,
    boxes: BoxStack,
    options: AveragingOptions,
    seed: int,
    device: torch.device | None,
) -> dict[str, object]:
    """Return the p-values of a class: of the decoys in it, and of the fit of its particles to its average."""
    table, order = decoys
    if _kept(cluster) < FEWEST:
        nothing = {"decoys": 0, "p_decoys": 1.0, "preference": math.nan, "p_preference": 1.0, "p": 1.0}
        return dict(nothing)
    inside = int((density.classes_of_decoys == number).sum())
    by_counts = p_of_counts(int((classes == number).sum()), inside, len(classes), len(table))
    fit = compare_with_decoys(cluster, boxes, table.iloc[order], options, seed, device)
    return {
        "decoys": inside,
        "p_decoys": by_counts,
        "preference": fit.preference,
        "p_preference": fit.p,
        # the class has to differ from decoys in both
        "p": max(by_counts, fit.p),
    }


def supports_of(facts: Mapping[int, ClusterFacts], assessed: pd.DataFrame) -> dict[int, Support]:
    """Return the support of every class, with q-values over the classes that may be particles by their form.

    Classes of another form (gold, membranes, faces, too few particles) count as tests that failed.

    Parameters
    ----------
    facts
        By cluster number.
    assessed
        `Assessment.classes`.
    """
    rows = {int(row["cluster"]): row for row in assessed.to_dict("records")}
    numbers = [number for number in facts if number in rows]
    other = [excluded_by_form(facts[number]) for number in numbers]
    tested = [1.0 if not_tested else rows[n]["p"] for n, not_tested in zip(numbers, other, strict=True)]
    found = {}
    for number, q, not_tested in zip(numbers, q_values(tested), other, strict=True):
        row = rows[number]
        found[number] = Support(
            p=float(row["p"]),
            q=math.nan if not_tested else float(q),
            finest_decoy=float(row["finest_decoy"]),
            false_fraction=float(row["false_fraction"]),
            heterogeneity=float(row["heterogeneity"]),
            p_mixture=float(row["p_mixture"]),
            purity=float(row["purity"]),
            mixture=float(row["larger_group"]) < 1,
        )
    return found
