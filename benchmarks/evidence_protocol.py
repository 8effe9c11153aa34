"""Significance of classes by decoys on simulated tomograms with and without particles: false and true discoveries."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_particles, fsc_blocks, locate_particles
from cryopipe.averaging.cluster_facts import cluster_facts
from cryopipe.averaging.doubles import gather_tables, mark_doubles, without_doubles
from cryopipe.averaging.verdicts import describe_clusters
from cryopipe.box_extraction import extract_for_averaging, write_subtomograms
from cryopipe.clustering import ClusteringOptions, cluster_particles
from cryopipe.evidence.assessment import Assessment, assess_classes, supports_of
from cryopipe.evidence.decoy_boxes import decoys_of_tomogram, write_decoys
from cryopipe.evidence.null_resolution import average_decoys, decoy_rows
from cryopipe.evidence.options import EvidenceOptions
from cryopipe.features import FeatureOptions, create_learner, learn_features
from cryopipe.features.learning import embed_centred
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.picking import PickOptions, pick_tomogram
from cryopipe.simulation import SimulationOptions, simulate_tomogram
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram

SIGNIFICANT = 0.05
NEAR = 80.0
"""Angstrom; largest distance of a pick from its particle."""
TRUE_CLASS = 0.5
"""A class is true if more than this fraction of its particles are of one species."""
VOXEL = 13.33
WHITE, GOLD, MEMBRANES = "white noise", "gold and ice", "membranes"


@dataclass(frozen=True)
class Case:
    """A tomogram to analyse.

    Attributes
    ----------
    name
        Of the row of the table.
    simulation
        Its contents; None for white noise.
    size
        Voxels along x, y, z.
    """

    name: str
    simulation: SimulationOptions | None
    size: tuple[int, int, int]


@dataclass
class Outcome:
    """Classes of one tomogram with the truth.

    Attributes
    ----------
    classes
        Table of verdicts, with the fraction of particles of the commonest species (`true_fraction`).
    particles
        Local false discovery rate of every pick, and whether it is at a particle (`true`).
    seconds
        Time by step; steps of decoys begin with "decoys".
    """

    classes: pd.DataFrame
    particles: pd.DataFrame
    seconds: dict[str, float] = field(default_factory=dict)


def null_cases(size: tuple[int, int, int]) -> list[Case]:
    """Return the cases without particles."""
    empty = SimulationOptions(size=size, voxel_size=VOXEL, copies=0, vesicles=0, tilt_step=6.0)
    return [
        Case(WHITE, None, size),
        Case(GOLD, replace(empty, gold=8), size),
        Case(MEMBRANES, replace(empty, vesicles=3, sheets=1), size),
    ]


def planted_case(species: Sequence[str], copies: int, snr: float, size: tuple[int, int, int]) -> Case:
    """Return a case with particles."""
    name = f"{' + '.join(species)}, {copies} copies, SNR {snr:g}"
    options = SimulationOptions(
        size=size, voxel_size=VOXEL, species=tuple(species), copies=copies, vesicles=0, snr=snr, tilt_step=6.0
    )
    return Case(name, options, size)


def run_case(
    case: Case, seed: int, folder: Path, diameter: float = 240.0, threads: int = 1, box_size: int = 24
) -> Outcome:
    """Simulate a tomogram, and pick, cluster, average and assess it with decoys.

    Parameters
    ----------
    case
        Contents of the tomogram.
    seed
        Of everything random.
    folder
        For the tomogram and its boxes; emptied files are left to the caller.
    diameter
        Of the picking filter, angstrom.
    threads
        Of torch.
    box_size
        Of all boxes, voxels of the tomogram.
    """
    torch.set_num_threads(threads)
    clock = _Clock()
    tomogram, truth = _made(case, seed, folder)
    work = _Work(tomogram, PickOptions(diameters=[diameter]), box_size, seed, folder, clock)
    table, features = work.classes()
    clusters, boxes = work.averages(table)
    found = work.decoys(table, features, clusters, boxes)
    facts = cluster_facts(clusters, AveragingOptions().initial_resolution)
    verdicts = describe_clusters(facts, supports_of(facts, found.classes))
    species = _species_of(table, truth)
    fractions = {
        number: pd.Series(species[table[columns.CLASS] == number])
        .value_counts()
        .drop("", errors="ignore")
        .max()
        / (table[columns.CLASS] == number).sum()
        for number in clusters
    }
    verdicts["true_fraction"] = [float(np.nan_to_num(fractions[n])) for n in verdicts["cluster"]]
    rates = found.particles.assign(true=species != "") if len(found.particles) else found.particles
    return Outcome(verdicts, rates, clock.seconds)


def _made(case: Case, seed: int, folder: Path) -> tuple[Tomogram, pd.DataFrame]:
    x, y, z = case.size
    path, truth = folder / "a.mrc", pd.DataFrame()
    if case.simulation is None:
        volume = np.random.default_rng(seed).standard_normal((z, y, x), np.float32)
    else:
        made = simulate_tomogram(case.simulation, seed, "a")
        volume, truth = made.volume, made.truth
    write_volume(path, volume, VOXEL)
    return Tomogram("a", str(path), VOXEL), truth


def _species_of(table: pd.DataFrame, truth: pd.DataFrame) -> NDArray[np.str_]:
    """Return (n,) the species at every pick; "" where there is no particle."""
    species = np.full(len(table), "", dtype=object)
    if len(truth):
        places = truth[list(columns.COORDINATES)].to_numpy(float) * VOXEL
        picks = table[list(columns.COORDINATES)].to_numpy(float) * VOXEL
        distance, nearest = cKDTree(places).query(picks)
        near = distance <= NEAR
        species[near] = truth["cryopipeSpecies"].to_numpy(str)[nearest[near]]
    return species.astype(str)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, work: Callable[[], object]) -> object:
        started = time.process_time()
        result = work()
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - started
        return result


@dataclass
class _Work:
    """The stages of a run on one tomogram."""

    tomogram: Tomogram
    picking: PickOptions
    box_size: int
    seed: int
    folder: Path
    clock: _Clock
    averaging: AveragingOptions = field(default_factory=AveragingOptions)

    def __post_init__(self) -> None:
        self.boxes_options = SubtomogramOptions(box_size=self.box_size, voxel_size=VOXEL)
        self.features_options = FeatureOptions()
        self.device = torch.device("cpu")

    def classes(self) -> tuple[pd.DataFrame, NDArray[np.float32]]:
        """Return the particles with classes, and their features."""
        opened, path = open_tomogram(self.tomogram), self.folder / "boxes.h5"
        picks: pd.DataFrame = self.clock(
            "picking", lambda: pick_tomogram(self.tomogram, opened, self.picking)
        )  # type: ignore[assignment]
        cut: pd.DataFrame = self.clock(  # type: ignore[assignment]
            "boxes", lambda: write_subtomograms(path, self.tomogram, picks, self.boxes_options, self.seed)
        )
        boxes = BoxStack([path])
        self.learner = create_learner("transfer", self.features_options, self.device, self.seed)
        learned = self.clock("features", lambda: learn_features(self.learner, boxes, self.features_options))
        features, centring = learned.features, learned.centring  # type: ignore[attr-defined]
        found = self.clock(
            "clusters",
            lambda: cluster_particles(
                cut, boxes.names, features, centring.shifts_voxels * VOXEL, centring.scores, ClusteringOptions(), self.seed
            ),
        )  # fmt: skip
        return found[0], features  # type: ignore[index]

    def averages(self, table: pd.DataFrame) -> tuple[dict[int, ClusterAverage], BoxStack]:
        """Return the averages of all classes and the boxes that they were made from."""
        numbers = sorted(set(table[columns.CLASS]) - {columns.UNASSIGNED})
        boxes = BoxStack([self.folder / "boxes.h5"])
        located = [
            self.clock(
                "averages",
                lambda n=n: locate_particles(
                    boxes, table[table[columns.CLASS] == n], self.averaging, self.seed
                ),
            )
            for n in numbers
        ]
        joined = mark_doubles(gather_tables(located), self.averaging.double_distance)  # type: ignore[arg-type]
        path = self.folder / "averaging.h5"
        cut = extract_for_averaging(
            path, self.tomogram, without_doubles(joined), self.boxes_options, "limit", {}, self.seed
        )
        stack, clusters = BoxStack([path]), {}
        for number in numbers:
            mine = cut[cut[columns.CLASS] == number]
            clusters[int(number)] = self.clock("averages", lambda m=mine: self._average(stack, m))
        return clusters, stack  # type: ignore[return-value]

    def _average(self, boxes: BoxStack, mine: pd.DataFrame) -> ClusterAverage:
        result, aligned = align_particles(boxes, mine, self.averaging, self.seed, centred=True)
        blocks: Mapping[str, object] = fsc_blocks(result, "C1")
        figures: dict[str, object] = blocks["general"]  # type: ignore[assignment]
        fsc: pd.DataFrame = blocks.get("fsc", pd.DataFrame())  # type: ignore[assignment]
        return ClusterAverage(result.average, result.voxel_size, figures, fsc, aligned, result.half_maps)

    def decoys(
        self,
        table: pd.DataFrame,
        features: NDArray[np.float32],
        clusters: Mapping[int, ClusterAverage],
        boxes: BoxStack,
    ) -> Assessment:
        """Return what decoys say about the classes."""
        opened, options = open_tomogram(self.tomogram), EvidenceOptions(decoys=True)
        paths = self.folder / "decoys.h5", self.folder / "decoys_averaging.h5"
        sets = self.clock(
            "decoys: picking",
            lambda: decoys_of_tomogram(self.tomogram, opened, table, self.picking, options, self.seed),
        )
        sizes = (self.boxes_options, self.boxes_options)
        found = self.clock(
            "decoys: boxes",
            lambda: write_decoys(paths, self.tomogram, VOXEL, sets, sizes, "limit", {}, self.seed),  # type: ignore[arg-type]
        )
        stack = BoxStack([paths[0]])
        decoy_features = self.clock(
            "decoys: features", lambda: embed_centred(self.learner, stack, self.features_options)[0]
        )
        decoys = decoy_rows([found], stack.names)  # type: ignore[list-item]
        curves = self.clock(
            "decoys: averages",
            lambda: average_decoys(
                BoxStack([paths[1]]), decoys, decoy_features, self.averaging, self.seed  # type: ignore[arg-type]
            ),
        )  # fmt: skip
        both = BoxStack([self.folder / "averaging.h5", paths[1]])
        assessed = self.clock(
            "decoys: assessment",
            lambda: assess_classes(
                clusters, (table, features), (decoys, decoy_features), both, curves, self.averaging, self.seed  # type: ignore[arg-type]
            ),
        )  # fmt: skip
        return assessed  # type: ignore[return-value]
