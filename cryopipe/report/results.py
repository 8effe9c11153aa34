"""Results of a run, read for the report and the closing summary."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cryopipe import columns
from cryopipe.averaging.verdicts import withhold_resolutions
from cryopipe.errors import CryopipeError
from cryopipe.evidence.leakage import LEAKAGE_TEXTS
from cryopipe.files.cluster_averages import (
    ClusterAverage,
    average_files,
    cluster_number,
    read_averages,
    read_map,
)
from cryopipe.files.costs import COST_COLUMNS, read_costs
from cryopipe.files.features import read_features
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import read_particles
from cryopipe.files.tables import TEXT_COLUMNS, read_table
from cryopipe.files.whole_file import read_bytes
from cryopipe.particles import shifts_of_table
from cryopipe.report.past_decisions import PastDecisions, read_past_decisions
from cryopipe.tomograms import Tomogram

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TomogramResult:
    """Results of one tomogram.

    Attributes
    ----------
    name, path
        As in the tomogram table.
    source
        The volume, or the tomogram to open when it is drawn (systems limit the number of open files); None if it
        cannot be read.
    voxel_size
        Angstrom; NaN if it cannot be read.
    picks, boxes
        Number of picks, and of those that were cut out as boxes.
    """

    name: str
    path: str
    source: np.ndarray | Tomogram | None
    voxel_size: float
    picks: int
    boxes: int

    @property
    def volume(self) -> np.ndarray | None:
        """(z, y, x), opened on every access; None if it cannot be read."""
        return open_tomogram(self.source).volume if isinstance(self.source, Tomogram) else self.source


@dataclass(frozen=True)
class RunResults:
    """Results shown in the report; results that the run did not produce are empty.

    Attributes
    ----------
    check
        One row per tomogram and problem of the input check.
    tomograms
        In the order of the tomogram table.
    particles
        All particles with tomogram, coordinates, class and posterior.
    features
        (n, d), in the order of `particles`; rows of NaN for particles without features.
    history
        One row per iteration of the learner.
    averages
        By cluster number.
    selection
        One row per number of clusters that was considered, with the criteria.
    verdicts
        One row per average in the order in which clusters are listed: cluster, verdict, reason and facts.
    triage
        One row per average: shape, correlation with its mirror image and with known maps.
    mergers
        One row per pair of averages, with the proposal to merge them or not.
    evaluation
        Tables of scores by name; empty if no truth is known.
    decoded
        By cluster number, the map (z, y, x) that a generative learner decodes from the mean features.
    paths
        PNG of decoded paths between clusters; empty if the learner generates no boxes.
    bands
        Fourier shell correlations of averages of decoys by cluster: frequency, lowest, highest; empty without decoys.
    costs
        Time and memory of the jobs by rule, as `cryopipe.files.costs.read_costs` returns them.
    relations
        Tables `leakage`, `neighbourhood` and `distances` of the classes.
    past
        Decisions that these results follow; None without decisions.
    """

    check: pd.DataFrame
    tomograms: list[TomogramResult]
    particles: pd.DataFrame
    features: np.ndarray
    history: pd.DataFrame
    averages: dict[int, ClusterAverage]
    selection: pd.DataFrame = field(default_factory=pd.DataFrame)
    verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)
    triage: pd.DataFrame = field(default_factory=pd.DataFrame)
    mergers: pd.DataFrame = field(default_factory=pd.DataFrame)
    evaluation: dict[str, pd.DataFrame] = field(default_factory=dict)
    decoded: dict[int, np.ndarray] = field(default_factory=dict)
    paths: bytes = b""
    bands: pd.DataFrame = field(default_factory=pd.DataFrame)
    costs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COST_COLUMNS)))
    relations: dict[str, pd.DataFrame] = field(default_factory=dict)
    past: PastDecisions | None = None

    @property
    def cluster_numbers(self) -> list[int]:
        """Numbers of the clusters with particles or an average, without class 0 (unassigned)."""
        found = {int(number) for number in self.classes} | set(self.averages)
        return sorted(found - {columns.UNASSIGNED})

    @cached_property
    def listed_numbers(self) -> list[int]:
        """Numbers of the clusters in the order of their verdicts, real particles first; then clusters without one."""
        judged = [number for number in self.verdict_of if number in set(self.cluster_numbers)]
        return [*judged, *(number for number in self.cluster_numbers if number not in self.verdict_of)]

    @cached_property
    def verdict_of(self) -> dict[int, tuple[str, str]]:
        """Verdict and reason of the clusters by number, in the order in which clusters are listed."""
        if "verdict" not in self.verdicts:
            return {}
        rows = self.verdicts[["cluster", "verdict", "reason"]].to_dict("records")
        return {int(row["cluster"]): (str(row["verdict"]), str(row["reason"])) for row in rows}

    @cached_property
    def class_names(self) -> dict[int, str]:
        """Names of the clusters by number, if they are classes that the user labelled."""
        if columns.CLASS_NAME not in self.particles:
            return {}
        rows = self.particles.drop_duplicates(columns.CLASS)
        return dict(zip(rows[columns.CLASS].astype(int), rows[columns.CLASS_NAME].astype(str), strict=True))

    def name_of(self, number: int) -> str:
        """Return how a cluster is named in texts: the user's name if there is one."""
        if not number:
            return "unassigned"  # not columns.NO_CLASS, the name of their class
        plain = f"cluster {number}"
        name = self.class_names.get(number, plain)
        return plain if name == plain else f"{plain}: {name}"

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Indices of the particles by their tomogram's name."""
        if columns.TOMOGRAM not in self.particles:
            return {}
        groups = self.particles.groupby(columns.TOMOGRAM).indices
        return {str(name): np.asarray(rows) for name, rows in groups.items()}

    @cached_property
    def classes(self) -> np.ndarray:
        """Class of every particle, (n,)."""
        if columns.CLASS not in self.particles:
            return np.full(len(self.particles), columns.UNASSIGNED)
        return self.particles[columns.CLASS].to_numpy(int)

    @cached_property
    def aligned(self) -> pd.DataFrame:
        """Particles of all averages with their poses, by name of the particle; empty without averages."""
        tables = [one.particles for one in self.averages.values() if columns.PARTICLE in one.particles]
        if not tables:
            return pd.DataFrame()
        joined = pd.concat(tables, ignore_index=True)
        return joined.drop_duplicates(columns.PARTICLE).set_index(columns.PARTICLE)

    @cached_property
    def positions(self) -> np.ndarray:
        """Positions of the particles, shifts included, (n, 3) xyz, voxels: as aligned, or as picked without an average."""
        table = self.particles
        if not len(table):
            return np.zeros((0, 3))
        found = table[list(columns.COORDINATES)].to_numpy(float)
        found = found + shifts_of_table(table) / table[columns.VOXEL_SIZE].to_numpy(float)[:, None]
        if columns.PARTICLE in table and {*columns.COORDINATES, *columns.ORIGINS} <= set(self.aligned):
            places = self.aligned.index.get_indexer(pd.Index(table[columns.PARTICLE]))
            poses = self.aligned.iloc[places[places >= 0]]
            shifts = shifts_of_table(poses) / poses[columns.VOXEL_SIZE].to_numpy(float)[:, None]
            found[places >= 0] = poses[list(columns.COORDINATES)].to_numpy(float) + shifts
        return found

    @cached_property
    def radii(self) -> np.ndarray:
        """Radii of the particles, (n,) voxels."""
        if not len(self.particles):
            return np.zeros(0)
        diameters = self.particles[columns.DIAMETER] / self.particles[columns.VOXEL_SIZE]
        return diameters.to_numpy(float) / 2

    def score(self, column: str) -> np.ndarray:
        """Return a score of the particles from their table or their averages, (n,); NaN where there is none."""
        if column in self.particles:
            return self.particles[column].to_numpy(float)
        if column in self.aligned and columns.PARTICLE in self.particles:
            names = pd.Index(self.particles[columns.PARTICLE])
            return self.aligned[column].reindex(names).to_numpy(float)
        return np.full(len(self.particles), math.nan)


def read_results(
    folder: Path,
    tomograms: Iterable[Tomogram],
    evaluated: bool = True,
    decoded: bool = False,
    curation: str | os.PathLike[str] | None = None,
) -> RunResults:
    """Read the results of a finished or unfinished run.

    Parameters
    ----------
    folder
        The run's directory, with `results/`, `costs/` and `logs/`.
    tomograms
        Rows of the tomogram table.
    evaluated
        False ignores scores, which an earlier run with a known truth may have written.
    decoded
        False ignores decoded maps, which an earlier run with another learner may have written.
    curation
        The file of decisions that the results follow; None without decisions.
    """
    results = folder / "results"
    particles = _particles(results / "clusters" / "particles.star")
    verdicts = _table(results / "averages" / "clusters.tsv", ("verdict", "reason", "symmetry"))
    averages = read_averages(average_files(results / "averages"))
    return RunResults(
        check=_table(results / "check" / "tomograms.tsv"),
        tomograms=[_tomogram(results, tomogram) for tomogram in tomograms],
        particles=particles,
        features=_features(results / "features" / "features.npz", particles),
        history=_table(results / "features" / "history.tsv"),
        averages=withhold_resolutions(averages, verdicts),
        selection=_table(results / "clusters" / "selection.tsv"),
        verdicts=verdicts,
        triage=_table(results / "averages" / "triage.tsv", ("best_match", "symmetry")),
        mergers=_table(results / "averages" / "mergers.tsv", ()),
        evaluation=_evaluation(results / "evaluation") if evaluated else {},
        decoded=_decoded(results / "features" / "decoded") if decoded else {},
        paths=_picture(results / "features" / "paths.png") if decoded else b"",
        bands=_table(results / "evidence" / "bands.tsv", ()) if "q" in verdicts else pd.DataFrame(),
        costs=read_costs(folder),
        relations=_relations(results / "evidence"),
        past=None if curation is None else read_past_decisions(results, curation),
    )


def _decoded(directory: Path) -> dict[int, np.ndarray]:
    return {cluster_number(path): read_map(path)[0] for path in average_files(directory)}


def _picture(path: Path) -> bytes:
    return read_bytes(path) if path.is_file() else b""


def _evaluation(directory: Path) -> dict[str, pd.DataFrame]:
    names = [
        name
        for name in ("picking", "clusters", "contents", "averages")
        if (directory / f"{name}.tsv").is_file()
    ]
    return {name: read_table(directory / f"{name}.tsv", ("class", "scope", "tomogram")) for name in names}


def _relations(directory: Path) -> dict[str, pd.DataFrame]:
    texts = {"leakage": LEAKAGE_TEXTS, "neighbourhood": ("neighbour",), "distances": ("neighbour",)}
    return {name: _table(directory / f"{name}.tsv", columns) for name, columns in texts.items()}


def _table(path: Path, text_columns: Sequence[str] = TEXT_COLUMNS) -> pd.DataFrame:
    return read_table(path, text_columns) if path.is_file() else pd.DataFrame()


def _particles(path: Path) -> pd.DataFrame:
    return read_particles(path) if path.is_file() else pd.DataFrame()


def _tomogram(results: Path, tomogram: Tomogram) -> TomogramResult:
    source, voxel_size = None, math.nan
    try:
        voxel_size = open_tomogram(tomogram).voxel_size
        source = tomogram
    except CryopipeError as error:
        # The input check reports this problem; the page lists the tomogram without a picture.
        logger.warning("tomogram %s is shown without a picture: %s", tomogram.name, error)
    picks = _particles(results / "picks" / f"{tomogram.name}.star")
    boxes = _particles(results / "subtomograms" / f"{tomogram.name}.star")
    return TomogramResult(tomogram.name, tomogram.path, source, voxel_size, len(picks), len(boxes))


def _features(path: Path, particles: pd.DataFrame) -> np.ndarray:
    """Return the features in the particles' order."""
    if not path.is_file() or columns.PARTICLE not in particles:
        return np.zeros((0, 2))
    names, features, _ = read_features(path)
    place = {name: i for i, name in enumerate(names)}
    ordered = np.full((len(particles), features.shape[1]), np.nan)
    for row, name in enumerate(particles[columns.PARTICLE].astype(str)):
        if name in place:
            ordered[row] = features[place[name]]
    return ordered
