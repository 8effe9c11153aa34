"""Averages beside the true maps of the classes that their clusters hold."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe.errors import DataError
from cryopipe.evaluation.map_scores import fit_map
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.files.star import read_particles

logger = logging.getLogger(__name__)
MAP_COLUMNS = ("map_correlation", "mirror_correlation", "map_resolution")


@dataclass(frozen=True)
class Average:
    """An average, (z, y, x) with its voxel size in angstrom, and its aligned particles."""

    volume: np.ndarray
    voxel_size: float
    particles: pd.DataFrame


def read_averages(paths: Iterable[str | Path]) -> dict[int, Average]:
    """Read averages `cluster_NN.mrc` and the tables beside them; by number of the cluster."""
    averages = {}
    for path in map(Path, paths):
        volume, voxel_size = _read_map(path)
        table = read_particles(path.with_suffix(".star"))
        averages[int(path.stem.removeprefix("cluster_"))] = Average(volume, voxel_size, table)
    return averages


def with_map_scores(scores: pd.DataFrame, averages: Mapping[int, Average], maps: Path | None) -> pd.DataFrame:
    """Add to the scores of clusters how well each average agrees with the true map of its class.

    Parameters
    ----------
    scores
        Columns cluster and class, one row per cluster.
    averages
        By number of the cluster.
    maps
        Directory of `CLASS.mrc`; None adds nothing.

    Returns
    -------
    `scores` with map_correlation and mirror_correlation (of the best fits of the true map and of its mirror
    image) and map_resolution (angstrom at FSC 0.5); blank where a class has no map.
    """
    if maps is None:
        return scores
    rows = []
    for cluster, name in zip(scores["cluster"].tolist(), scores["class"].tolist(), strict=True):
        path, average = maps / f"{name}.mrc", averages.get(int(cluster))
        if average is None or not path.is_file():
            rows.append(dict.fromkeys(MAP_COLUMNS, np.nan))
            continue
        logger.info("laying %s onto the average of cluster %d", path.name, cluster)
        fit = fit_map(average.volume, average.voxel_size, *_read_map(path))
        rows.append(
            dict(zip(MAP_COLUMNS, (fit.correlation, fit.mirror_correlation, fit.resolution), strict=True))
        )
    return pd.concat([scores, pd.DataFrame(rows, columns=list(MAP_COLUMNS))], axis=1)


def _read_map(path: Path) -> tuple[np.ndarray, float]:
    voxel_size = read_header(path).voxel_size
    if voxel_size is None:
        raise DataError("a map without a voxel size", file=path, remedy="write it into the file's header")
    return np.asarray(open_volume(path), np.float32), voxel_size
