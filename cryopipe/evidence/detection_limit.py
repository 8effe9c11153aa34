"""Detection limit: recall, purity and resolution of added molecules against their mass and number."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from cryopipe.simulation.tomogram import SPECIES

COLUMNS = ("species", "mass", "copies", "picked", "cluster", "recall", "purity", "resolution")
"""Columns of the table of detection."""
_NAME = re.compile(r"spike_(\d+(?:_\d+)?)kDa")


def detection_table(truth: pd.DataFrame, picking: pd.DataFrame, averages: pd.DataFrame) -> pd.DataFrame:
    """Return how well each added species was found in a finished run.

    Parameters
    ----------
    truth
        True particles with their species.
    picking, averages
        Scores of the run, see `picking_table` and `averages_table`.

    Returns
    -------
    One row per species: mass (dalton; NaN for maps that the user named), copies, picked (fraction that was picked), and of
    the cluster that contains most of them its number, recall (fraction of all copies in it), purity (fraction of its
    particles that are copies) and resolution (angstrom at FSC 0.5 with the true map). A species that is not the most
    frequent in any cluster has recall 0 and no cluster.
    """
    rows: list[list[object]] = []
    for name, copies in truth[SPECIES].value_counts().items():
        found = picking[picking["class"] == name]
        mine = averages[averages["class"] == name].sort_values("matched", ascending=False)
        best = mine.iloc[0] if len(mine) else pd.Series(dtype=float)
        row = [
            name,
            mass_of(str(name)),
            int(copies),
            float(found["recall"].iloc[0]) if len(found) else np.nan,
        ]
        row += [int(best["cluster"]) if len(mine) else 0, float(best.get("recall", 0.0))]
        row += [float(best.get("precision", np.nan)), float(best.get("map_resolution", np.nan))]
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["mass", "copies"], ignore_index=True)


def mass_of(name: str) -> float:
    """Return the mass in dalton in the name of a procedural species; NaN for others."""
    match = _NAME.fullmatch(name)
    return float(match.group(1).replace("_", ".")) * 1e3 if match else np.nan
