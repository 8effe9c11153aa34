"""Unevenness of the orientations of classes to the missing wedge."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from cryopipe.evidence.leakage import NAMES, RUN

ORIENTATION, VIEW = "orientation", "view"
NEAR = 30.0
"""Degrees within which orientations are called the same."""
AS_EXPECTED = {ORIENTATION: (math.radians(NEAR) - math.sin(math.radians(NEAR))) / math.pi, VIEW: 1 - math.cos(math.radians(NEAR))}  # fmt: skip
"""Fraction of uniform orientations within `NEAR` of one orientation, or of one axis."""
ONE_ORIENTATION, ONE_VIEW = 0.6, 0.5
"""Unevenness from which a class is called one orientation or one view: that of uniform in-plane rotations of one view is 1/3
for orientations and 1 for views; of rotations within 60 degrees of one orientation it is 0.63."""
SIGNIFICANT = 0.001


def measure_views(
    rotations: Mapping[int, Rotation], along_x: Mapping[int, NDArray[np.bool_]] | None = None
) -> pd.DataFrame:
    """Measure how uneven the orientations of each class are.

    Parameters
    ----------
    rotations
        Active rotations from the average to the particle, by class number.
    along_x
        By class number, (n,) whether the tilt axis of the particle's tomogram is x; None: y for all. Orientations are
        measured relative to tilt axis and beam.

    Returns
    -------
    The columns of the table of leakage, with two factors: orientation, and view (the axis of the beam relative to the
    particle). explained is the unevenness, 0 for uniform orientations and 1 if all are equal; chance is its mean for as
    many uniform orientations, and p the probability of at least this. Each class has coordinates of its own, the
    average's, so labels of classes cannot be permuted here; the rows of `all` combine the classes.

    Notes
    -----
    Bingham's tests of the second moments: of quaternions, 12 n (tr(T^2) - 1/4) with 9 degrees of freedom; of axes,
    15 n / 2 (tr(T^2) - 1/3) with 5.
    """
    rows: list[list[object]] = []
    for factor, freedom in ((ORIENTATION, 9), (VIEW, 5)):
        found = []
        for number, poses in rotations.items():
            if len(poses):
                x = None if along_x is None else along_x[number]
                found.append((number, len(poses), *_unevenness(factor, in_wedge_frame(poses, x))))
        statistic = sum(freedom * size * uneven for _, size, uneven, _ in found)
        total = sum(size for _, size, _, _ in found)
        if not found:
            continue
        uneven = sum(size * value for _, size, value, _ in found) / total
        p = float(chi2.sf(statistic, freedom * len(found)))
        rows.append([RUN, factor, total, uneven, len(found) / total, p, "", math.nan, math.nan])
        for number, size, uneven, near in found:
            p = float(chi2.sf(freedom * size * uneven, freedom))
            title = f"{NEAR:.0f} degrees about one {factor}"
            rows.append([str(number), factor, size, uneven, 1 / size, p, title, near, AS_EXPECTED[factor]])
    return pd.DataFrame(rows, columns=list(NAMES))


def in_wedge_frame(rotations: Rotation, along_x: NDArray[np.bool_] | None) -> Rotation:
    """Return rotations in tomograms whose tilt axis is y, by a quarter rotation about z where it is x."""
    if along_x is None or not along_x.any():
        return rotations
    quarter = Rotation.from_rotvec(np.outer(along_x, [0.0, 0.0, math.pi / 2]))
    return quarter * rotations


def _unevenness(factor: str, rotations: Rotation) -> tuple[float, float]:
    """Return the unevenness, 0 to 1, and the fraction within `NEAR` of the most frequent orientation or axis."""
    if factor == ORIENTATION:
        vectors = rotations.as_quat()
        limit = math.cos(math.radians(NEAR) / 2)
    else:
        vectors = rotations.inv().apply([0.0, 0.0, 1.0])
        limit = math.cos(math.radians(NEAR))
    dimensions = vectors.shape[1]
    moments = vectors.T @ vectors / len(vectors)
    uneven = float((moments**2).sum() - 1 / dimensions) / (1 - 1 / dimensions)
    most = np.linalg.eigh(moments)[1][:, -1]
    return max(uneven, 0.0), float((np.abs(vectors @ most) >= limit).mean())


def view_remarks(leakage: pd.DataFrame) -> dict[int, str]:
    """Return by class number that it is one orientation or one view, for the reason of its verdict."""
    found: dict[int, str] = {}
    limits = {ORIENTATION: ONE_ORIENTATION, VIEW: ONE_VIEW}
    for row in leakage[leakage["factor"].isin(limits) & (leakage["cluster"] != RUN)].to_dict("records"):
        number = int(row["cluster"])
        if number in found or row["explained"] < limits[row["factor"]] or row["p"] >= SIGNIFICANT:
            continue
        where = f"{row['fraction']:.0%} of its particles, and {row['expected']:.0%} of uniform ones"
        found[number] = f"one {row['factor']}: {where}, are within {row['most']}"
    return found
