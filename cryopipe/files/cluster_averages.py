"""Averages of clusters: `cluster_NN.mrc` with its half-maps, FSC curve and particles."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe.errors import DataError
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.files.star import read_particles, read_star

RESOLUTION = "cryopipeResolution0143"
"""Column of the FSC file's block `general`: angstrom at FSC 0.143; absent where not reported."""
RESOLUTION_05 = "cryopipeResolution05"
"""The same at FSC 0.5."""
SYMMETRY = "cryopipeSymmetry"
"""Column of the FSC file's block `general`: the imposed point group."""


@dataclass(frozen=True)
class ClusterAverage:
    """A cluster's average with its FSC, particles and half-maps.

    Attributes
    ----------
    volume
        (z, y, x), particles bright.
    voxel_size
        Angstrom.
    figures
        Single values of the FSC file's block `general`, by column name; empty without such a file.
    fsc
        The FSC curve, one row per shell; empty where it was not measured.
    particles
        The aligned particles; empty where they were not read.
    half_maps
        Two unfiltered (z, y, x) maps; None where they were not read.
    """

    volume: NDArray[np.float32]
    voxel_size: float
    figures: Mapping[str, Any] = field(default_factory=dict)
    fsc: pd.DataFrame = field(default_factory=pd.DataFrame)
    particles: pd.DataFrame = field(default_factory=pd.DataFrame)
    half_maps: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def resolution(self) -> float:
        """Angstrom at FSC 0.143; infinite where not reported."""
        return float(self.figures.get(RESOLUTION, math.inf))


def cluster_name(number: int) -> str:
    """Return the stem of a cluster's files, `cluster_NN`."""
    return f"cluster_{number:02d}"


def cluster_number(path: str | os.PathLike[str]) -> int:
    """Return the number of the cluster whose average `path` is.

    Raises
    ------
    DataError
        If the file is not named `cluster_NN.mrc`.
    """
    match = re.fullmatch(r"cluster_(\d+)", Path(path).stem)
    if match is None:
        raise DataError(
            "is not the average of a cluster",
            file=path,
            remedy="name the file cluster_NN.mrc, such as cluster_01.mrc",
        )
    return int(match[1])


def average_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the averages of clusters in a folder, without half-maps, sorted by name."""
    return sorted(
        path for path in Path(folder).glob("cluster_*.mrc") if re.fullmatch(r"cluster_\d+", path.stem)
    )


def read_map(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], float]:
    """Return a map (z, y, x) and its voxel size in angstrom.

    Raises
    ------
    DataError
        If the header does not state the voxel size.
    FileError
        If the file cannot be read.
    """
    voxel_size = read_header(path).voxel_size
    if voxel_size is None:
        raise DataError("has no voxel size", file=path, remedy="write the voxel size to the file's header")
    return np.array(open_volume(path), np.float32), voxel_size


def read_maps(directory: str | os.PathLike[str]) -> dict[str, tuple[NDArray[np.float32], float]]:
    """Return the maps `*.mrc` of a directory, each with its voxel size, by file name without ending.

    Raises
    ------
    DataError, FileError
        As `read_map`.
    """
    return {path.stem: read_map(path) for path in sorted(Path(directory).glob("*.mrc"))}


def read_average(
    path: str | os.PathLike[str], tables: bool = True, half_maps: bool = False
) -> ClusterAverage:
    """Read the average of a cluster.

    Parameters
    ----------
    path
        `cluster_NN.mrc`.
    tables
        Whether to read the aligned particles, `cluster_NN.star`, and the FSC, `cluster_NN_fsc.star`, where they
        exist.
    half_maps
        Whether to read `cluster_NN_half1.mrc` and `cluster_NN_half2.mrc`.

    Raises
    ------
    DataError
        If the header does not state the voxel size.
    FileError
        If a file cannot be read.
    """
    path = Path(path)
    volume, voxel_size = read_map(path)
    fsc, particles = path.with_name(f"{path.stem}_fsc.star"), path.with_suffix(".star")
    blocks = read_star(fsc) if tables and fsc.is_file() else {}
    general = blocks.get("general", pd.DataFrame())
    return ClusterAverage(
        volume,
        voxel_size,
        {str(name): value for name, value in general.iloc[0].items()} if len(general) else {},
        blocks.get("fsc", pd.DataFrame()),
        read_particles(particles) if tables and particles.is_file() else pd.DataFrame(),
        (_half(path, 1), _half(path, 2)) if half_maps else None,
    )


def read_averages(
    paths: Iterable[str | os.PathLike[str]], tables: bool = True, half_maps: bool = False
) -> dict[int, ClusterAverage]:
    """Read the averages of several clusters, by number; see `read_average` and `cluster_number`."""
    return {cluster_number(path): read_average(path, tables, half_maps) for path in paths}


def _half(path: Path, number: int) -> NDArray[np.float32]:
    return np.array(open_volume(path.with_name(f"{path.stem}_half{number}.mrc")), np.float32)
