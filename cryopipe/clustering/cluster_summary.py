"""The table of clusters."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from cryopipe import columns


def cluster_summary(particles: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cluster of a particle table, unassigned particles (0) last.

    Returns
    -------
    Columns cluster, class (only if the clusters have names), particles, mean_posterior, and members: a digest of the
    cluster's rows in the table without names and decisions, which changes if its average has to be made again.
    """
    classes = particles[columns.CLASS].to_numpy(np.int64)
    numbers = [int(number) for number in np.unique(classes) if number != columns.UNASSIGNED]
    content = particles.drop(columns=[columns.CLASS_NAME, columns.DECISION], errors="ignore")
    rows = []
    for number in [*numbers, columns.UNASSIGNED]:
        mine = classes == number
        row: dict[str, object] = {"cluster": number}
        if columns.CLASS_NAME in particles:
            names = particles.loc[mine, columns.CLASS_NAME]
            row["class"] = names.iloc[0] if len(names) else columns.NO_CLASS
        posteriors = particles.loc[mine, columns.POSTERIOR]
        row |= {
            "particles": int(mine.sum()),
            "mean_posterior": float(posteriors.mean()) if mine.any() else np.nan,
        }
        text = content[mine].to_csv(index=False)
        rows.append({**row, "members": hashlib.sha256(text.encode()).hexdigest()[:12]})
    return pd.DataFrame(rows)
