"""Prediction of class labels from where particles lie, compared with permuted labels.

A label that follows the tomogram, the depth or the defocus may describe the imaging rather than the particle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import random_table

PERMUTATIONS = 999
CHUNK = 4_000_000
"""Cells of permuted tables that are held at a time."""
MOST_BINS = 8
PER_BIN = 10
"""Particles per bin of a number, if there are few."""
RUN = "all"
"""Name of the rows about all classes together."""
NAMES = ("cluster", "factor", "particles", "explained", "chance", "p", "most", "fraction", "expected")
"""Columns of the table of leakage."""
LEAKAGE_TEXTS = ("cluster", "factor", "most")
"""Columns of texts."""
TOMOGRAM = "tomogram"
SIGNIFICANT = 0.01
STRONG = 0.3
"""Explained fraction of a label, beyond chance, from which a verdict mentions it."""
NEARLY_ALL = 0.9
"""Fraction of a class in one tomogram from which a verdict mentions it."""


@dataclass(frozen=True)
class Factor:
    """A property of the particles that should not decide their class, in bins.

    Attributes
    ----------
    name
        Such as "depth".
    bins
        (n,) number of the particle's bin; -1 if the property is unknown.
    titles
        Text of each bin.
    strata
        (n,) labels are permuted among particles with the same number; None: among all.
    blocks
        (n,) the property is the same for all particles with the same number, such as the defocus of a tomogram, and its
        values are permuted among these groups instead of the labels among particles; None: it is the particle's own.
    """

    name: str
    bins: NDArray[np.int64]
    titles: tuple[str, ...]
    strata: NDArray[np.int64] | None = None
    blocks: NDArray[np.int64] | None = None


def numeric_factor(
    name: str, values: NDArray[np.float64], unit: str, form: str = ".0f", **groups: NDArray[np.int64]
) -> Factor:
    """Return a factor of numbers (n,) in bins of about equally many particles; NaN is unknown.

    Parameters
    ----------
    name, groups
        See `Factor`.
    values
        (n,)
    unit, form
        Of the numbers in the titles of the bins.
    """
    known = np.isfinite(values)
    count = min(MOST_BINS, max(2, int(known.sum()) // PER_BIN))
    edges = (
        np.unique(np.quantile(values[known], np.linspace(0, 1, count + 1))) if known.any() else np.zeros(1)
    )
    bins = np.full(len(values), -1)
    bins[known] = np.searchsorted(edges[1:-1], values[known], side="right")
    limits = itertools.pairwise(edges) if len(edges) > 1 else [(edges[0], edges[0])]
    titles = tuple(f"{name} {low:{form}} to {high:{form}} {unit}".rstrip() for low, high in limits)
    return Factor(name, bins, titles, **groups)


def named_factor(name: str, values: Sequence[str]) -> Factor:
    """Return a factor of names, one per particle, such as those of their tomograms."""
    titles, bins = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    return Factor(name, bins.astype(np.int64), tuple(f"{name} {title}" for title in titles))


def measure_leakage(labels: NDArray[np.int64], factors: Sequence[Factor], seed: int) -> pd.DataFrame:
    """Measure how well labels are predicted from each of several properties.

    Parameters
    ----------
    labels
        (n,) class of each particle.
    factors
        Properties of the n particles.
    seed
        Of the permutations.

    Returns
    -------
    For each factor one row for all classes together (cluster `all`) and one per class, with `NAMES` as columns:
    particles whose property is known; explained, the fraction of the labels' entropy that the bin of the property
    explains (0: independent, 1: the property determines the label; for a class, of the entropy of being in it); chance,
    the mean of this with permuted labels; p, the probability of at least this with permuted labels; and the bin in which
    the class is most over-represented, with the fraction of the class and of all particles in it. A factor with one
    value, or labels with one class, give no rows.

    Notes
    -----
    Permuted tables of class and bin are drawn with the margins of the observed one (Patefield's algorithm), which is
    the distribution of permuting labels. If there are at most `PERMUTATIONS` permutations of the groups of
    `Factor.blocks`, all of them are used.
    """
    rows: list[list[object]] = []
    for number, factor in enumerate(factors):
        known = factor.bins >= 0
        classes, members = np.unique(labels[known], return_inverse=True)
        used = len(np.unique(factor.bins[known]))
        if len(classes) < 2 or used < 2:
            continue
        rows += _rows(classes, members, _restricted(factor, known), np.random.default_rng([seed, 31, number]))
    return pd.DataFrame(rows, columns=list(NAMES))


def _restricted(factor: Factor, known: NDArray[np.bool_]) -> Factor:
    """Return a factor of the known particles alone."""
    groups = [None if one is None else one[known] for one in (factor.strata, factor.blocks)]
    return Factor(factor.name, factor.bins[known], factor.titles, *groups)


def _rows(
    classes: NDArray[np.int64], members: NDArray[np.int64], factor: Factor, rng: np.random.Generator
) -> list[list[object]]:
    shape = (len(classes), len(factor.titles))
    observed = _table(members, factor.bins, shape)
    measured = _explained(observed[None])[0]
    total, at_least, count = np.zeros(len(measured)), np.zeros(len(measured)), 0
    exact = factor.blocks is not None and _few_orders(len(np.unique(factor.blocks)))
    for tables in _permuted(members, factor, shape, rng):
        permuted = _explained(tables)
        total += permuted.sum(axis=0)
        at_least += (permuted >= measured - 1e-12).sum(axis=0)
        count += len(tables)
    chance = total / count
    p = at_least / count if exact else (at_least + 1) / (count + 1)
    fractions = observed / observed.sum(axis=1, keepdims=True)
    expected = observed.sum(axis=0) / observed.sum()
    most = (fractions - expected).argmax(axis=1)
    rows: list[list[object]] = [
        [RUN, factor.name, len(members), measured[-1], chance[-1], p[-1], "", math.nan, math.nan]
    ]
    for row, (number, place) in enumerate(zip(classes, most, strict=True)):
        found = [factor.titles[place], fractions[row, place], expected[place]]
        size = int(observed[row].sum())
        rows.append([str(number), factor.name, size, measured[row], chance[row], p[row], *found])
    return rows


def _table(
    members: NDArray[np.int64], bins: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    return np.bincount(members * shape[1] + bins, minlength=shape[0] * shape[1]).reshape(shape).astype(float)


def _explained(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (t, k + 1) explained fractions of entropy, of each class and of all labels, of tables (t, k, b)."""
    fractions = tables / tables.sum(axis=(1, 2), keepdims=True)
    bins, classes = fractions.sum(axis=1), fractions.sum(axis=2)
    joint = _plogp(fractions)
    others = _plogp(bins[:, None] - fractions)
    apart = _plogp(bins).sum(axis=1)
    entropies = -_plogp(classes) - _plogp(1 - classes)
    information = joint.sum(axis=2) + others.sum(axis=2) - apart[:, None] + entropies
    whole = -_plogp(classes).sum(axis=1)
    all_of_it = joint.sum(axis=(1, 2)) - apart + whole
    return np.concatenate([information / entropies, (all_of_it / whole)[:, None]], axis=1)


def _plogp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 1e-15, values * np.log(np.maximum(values, 1e-15)), 0.0)


def _few_orders(groups: int) -> bool:
    return groups < 10 and math.factorial(groups) <= PERMUTATIONS


def _permuted(
    members: NDArray[np.int64], factor: Factor, shape: tuple[int, int], rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield tables (t, k, b) of permuted labels, `PERMUTATIONS` in all, or of all permutations of few groups."""
    size = max(1, min(PERMUTATIONS, CHUNK // (shape[0] * shape[1])))
    if factor.blocks is not None:
        yield from _permuted_blocks(members, factor, shape, rng, size)
        return
    strata = np.zeros(len(members), np.int64) if factor.strata is None else factor.strata
    parts = [_table(members[strata == one], factor.bins[strata == one], shape) for one in np.unique(strata)]
    for start in range(0, PERMUTATIONS, size):
        count = min(size, PERMUTATIONS - start)
        tables = np.zeros((count, *shape))
        for part in parts:
            rows, columns = part.sum(axis=1).astype(np.int64), part.sum(axis=0).astype(np.int64)
            tables += random_table(rows, columns).rvs(count, random_state=rng)
        yield tables


def _permuted_blocks(
    members: NDArray[np.int64],
    factor: Factor,
    shape: tuple[int, int],
    rng: np.random.Generator,
    size: int,
) -> Iterator[NDArray[np.float64]]:
    assert factor.blocks is not None
    groups, first, of_group = np.unique(factor.blocks, return_index=True, return_inverse=True)
    bins = factor.bins[first]
    contents = _table(of_group, members, (len(groups), shape[0]))
    if _few_orders(len(groups)):
        orders = np.array(list(itertools.permutations(range(len(groups)))))
    else:
        orders = rng.permuted(np.tile(np.arange(len(groups)), (PERMUTATIONS, 1)), axis=1)
    for start in range(0, len(orders), size):
        hot = np.eye(shape[1])[bins[orders[start : start + size]]]
        yield np.einsum("gk,tgb->tkb", contents, hot)


def leakage_remarks(leakage: pd.DataFrame) -> dict[int, list[str]]:
    """Return by class number what its label follows, for the reason of its verdict; classes without remarks are left out.

    A tomogram is mentioned if it contains `NEARLY_ALL` of the class, another property if it explains more than `STRONG` of
    the label; either only if permuted labels do so with a probability of less than `SIGNIFICANT`.
    """
    found: dict[int, list[str]] = {}
    for row in leakage[leakage["cluster"] != RUN].to_dict("records"):
        number = int(row["cluster"])
        if number <= 0 or not row["p"] <= SIGNIFICANT:
            continue
        where = f"{row['fraction']:.0%} of its particles, and {row['expected']:.0%} of all"
        if row["factor"] == TOMOGRAM:
            if row["fraction"] >= NEARLY_ALL:
                found.setdefault(number, []).append(f"one tomogram: {where}, are in {row['most']}")
        elif row["explained"] - row["chance"] >= STRONG:
            remark = f"its label follows the {row['factor']}: {where}, are at {row['most']}"
            found.setdefault(number, []).append(remark)
    return found
