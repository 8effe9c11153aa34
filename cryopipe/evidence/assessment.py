"""Assessment of all classes by decoys."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
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
from cryopipe.evidence.densities import DecoyDensity, decoy_density
from cryopipe.evidence.likeness import NOTHING, compare_with_decoys
from cryopipe.evidence.null_resolution import null_resolution
from cryopipe.evidence.purity import purity_of_class
from cryopipe.evidence.q_values import q_values
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.cluster_averages import ClusterAverage

logger = logging.getLogger(__name__)

FEWEST_DECOYS = 40
"""With fewer decoys nothing is said about classes, and none has a resolution."""
DIFFERENT = 0.05
"""All particles of a class with a p-value of at least this may be noise."""
CLASSES = (
    *("cluster", "all_decoys", "decoys", "preference", "p", "finest_decoy", "false_fraction"),
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
        One row per class, see `CLASSES`: decoys of the run and those in the class, preference with p (see `Likeness`),
        finest_decoy (angstrom), false_fraction (mean local false discovery rate), heterogeneity, p_mixture and larger_group
        (see `Purity`), and purity. With fewer decoys than `FEWEST_DECOYS` all figures are NaN.
    particles
        One row per particle: name and local false discovery rate; 1 in classes that do not differ from decoys. None with
        too few decoys.
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
        return _not_assessed(list(clusters), len(decoys[0]))
    density = decoy_density(features, decoys[1], classes)
    rates = density.false_discovery
    logger.info("%.0f %% of the picks are noise by the density of decoys", 100 * density.noise_fraction)
    row_of = {name: row for row, name in enumerate(names)}
    rows, bands = [], []
    for number, cluster in clusters.items():
        mine = features[[row_of[str(name)] for name in cluster.particles.get(columns.PARTICLE, [])]]
        row: dict[str, float] = {"cluster": number, "all_decoys": len(decoys[0])}
        row["decoys"] = int((density.classes_of_decoys == number).sum())
        order = _sorted_decoys(number, mine, decoys[1], density, seed)
        fit = NOTHING
        if _kept(cluster) >= FEWEST:
            fit = compare_with_decoys(cluster, boxes, decoys[0].iloc[order], options, seed, device)
        row |= {"preference": fit.preference, "p": fit.p}
        null = null_resolution(
            curves, _kept(cluster), max(options.finest_resolution, ctf_limit(cluster.particles))
        )
        row["finest_decoy"] = math.nan if null is None else null.finest
        members = classes == number
        if fit.p >= DIFFERENT:
            rates[members] = 1.0
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


def _not_assessed(numbers: Sequence[int], decoys: int) -> Assessment:
    """Return an assessment that says only how many decoys there are."""
    classes = pd.DataFrame({"cluster": numbers, "all_decoys": decoys}, columns=list(CLASSES))
    return Assessment(
        classes.astype(dict.fromkeys(CLASSES[2:], float)),
        *(pd.DataFrame(columns=list(names)) for names in (RATES, BAND)),
    )


def _kept(cluster: ClusterAverage) -> int:
    return int(cluster.particles[columns.ALIGNMENT_KEPT].sum()) if len(cluster.particles) else 0


def _sorted_decoys(
    number: int, mine: NDArray[np.float32], decoys: NDArray[np.float32], density: DecoyDensity, seed: int
) -> NDArray[np.intp]:
    """Return the decoys in the order of comparison: those in the class at random, then the nearest to its mean features.

    Of those in the class, the nearest to its mean would be more typical of the class than its particles.
    """
    if not len(mine):
        return np.arange(len(decoys))
    inside = density.classes_of_decoys == number
    apart = np.linalg.norm(decoys - mine.mean(axis=0), axis=1)
    random = np.random.default_rng(seed).random(len(decoys))
    return np.lexsort((np.where(inside, random, apart), ~inside))


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
    known = [math.isfinite(rows[number]["p"]) for number in numbers]
    tested = [
        1.0 if not_tested and assessed else rows[number]["p"]
        for number, not_tested, assessed in zip(numbers, other, known, strict=True)
    ]
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
            decoys=int(row["all_decoys"]),
        )
    return found
