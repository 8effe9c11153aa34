"""Comparison of averages with the true maps of their clusters' classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe.alignment.map_fitting import fit_map
from cryopipe.files.cluster_averages import ClusterAverage, read_map

logger = logging.getLogger(__name__)
MAP_COLUMNS = ("map_correlation", "mirror_correlation", "map_resolution")


def with_map_scores(
    scores: pd.DataFrame, averages: Mapping[int, ClusterAverage], maps: Path | None
) -> pd.DataFrame:
    """Add to the scores of clusters the agreement of each average with the true map of its class.

    Parameters
    ----------
    scores
        Columns cluster and class, one row per cluster.
    averages
        By cluster number.
    maps
        Directory of `CLASS.mrc`; with None, `scores` is returned unchanged.

    Returns
    -------
    `scores` with map_correlation and mirror_correlation (of the best fits of the true map and of its mirror
    image) and map_resolution (angstrom at FSC 0.5); NaN where a class has no map.
    """
    if maps is None:
        return scores
    rows = []
    for cluster, name in zip(scores["cluster"].tolist(), scores["class"].tolist(), strict=True):
        path, average = maps / f"{name}.mrc", averages.get(int(cluster))
        if average is None or not path.is_file():
            rows.append(dict.fromkeys(MAP_COLUMNS, np.nan))
            continue
        logger.info("fitting %s to the average of cluster %d", path.name, cluster)
        fit = fit_map(average.volume, average.voxel_size, *read_map(path))
        rows.append(
            dict(zip(MAP_COLUMNS, (fit.correlation, fit.mirror_correlation, fit.resolution), strict=True))
        )
    return pd.concat([scores, pd.DataFrame(rows, columns=list(MAP_COLUMNS))], axis=1)
