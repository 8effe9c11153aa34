"""Significance of classes by decoys on simulated tomograms with and without particles: false and true discoveries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.evidence_cases import VOXEL, Case, made_tomogram, species_name
from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_particles, fsc_blocks, locate_particles
from cryopipe.averaging.cluster_facts import cluster_facts
from cryopipe.averaging.doubles import gather_tables, mark_doubles, without_doubles
from cryopipe.averaging.verdicts import describe_clusters
from cryopipe.box_extraction import extract_for_averaging, write_subtomograms
from cryopipe.clustering import ClusteringOptions, cluster_particles
from cryopipe.evidence.assessment import Assessment, assess_classes, supports_of
from cryopipe.evidence.decoy_boxes import decoys_of_tomogram, write_decoys
from cryopipe.evidence.null_resolution import average_decoys, decoy_rows, decoys_to_average
from cryopipe.evidence.options import EvidenceOptions
from cryopipe.features import FeatureOptions, create_learner, learn_features
from cryopipe.features.learning import embed_centred
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.opening import open_tomogram
from cryopipe.picking import PickOptions, pick_tomogram
from cryopipe.simulation.tomogram import SPECIES
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram

SIGNIFICANT = 0.05
NEAR = 80.0
"""Angstrom; largest distance of a pick from its particle."""
TRUE_CLASS = 0.5
"""A class is true if more than this fraction of its particles are of one species."""
COARSE = AveragingOptions(
    voxel_size=20.0, initial_models=1, initial_iterations=6, refinement_iterations=3, angular_step=20.0
)
"""Averaging that takes seconds."""


@dataclass
class Outcome:
    """Classes of one tomogram with the truth.

    Attributes
    ----------
    classes
        Table of verdicts, with the fraction of particles of the commonest species (`true_fraction`).
    particles
        Local false discovery rate of every pick, and whether it is at a particle (`true`).
    planted
        One row per added species: `mass` (kilodalton), `copies`, `picked`, and whether a true class of it has q < 0.05
        (`found`).
    seconds
        Time by step; steps of decoys begin with "decoys".
    """

    classes: pd.DataFrame
    particles: pd.DataFrame
    planted: pd.DataFrame
    seconds: dict[str, float] = field(default_factory=dict)


def run_case(case: Case, seed: int, folder: Path, threads: int = 1, box_size: int = 24) -> Outcome:
    """Simulate a tomogram, and pick, cluster, average and assess it with decoys.

    Parameters
    ----------
    case
        Contents of the tomogram.
    seed
        Of everything random.
    folder
        For the tomogram and its boxes; emptied files are left to the caller.
    threads
        Of torch.
    box_size
        Of all boxes, voxels of the tomogram.
    """
    torch.set_num_threads(threads)
    clock = _Clock()
    tomogram, truth = made_tomogram(case, seed, folder)
    work = _Work(tomogram, PickOptions(diameters=[case.diameter]), box_size, seed, folder, clock)
    table, features = work.classes()
    clusters = work.averages(table)
    found = work.decoys(table, features, clusters)
    facts = cluster_facts(clusters, AveragingOptions().initial_resolution)
    verdicts = describe_clusters(facts, supports_of(facts, found.classes))
    species = _species_of(table, truth)
    main = {number: _main_species(species[table[columns.CLASS] == number]) for number in clusters}
    verdicts["species"] = [main[number][0] for number in verdicts["cluster"]]
    verdicts["true_fraction"] = [main[number][1] for number in verdicts["cluster"]]
    rates = found.particles.assign(true=species != "") if len(found.particles) else found.particles
    return Outcome(verdicts, rates, _planted(case, truth, species, verdicts), clock.seconds)


def _main_species(species: NDArray[np.str_]) -> tuple[str, float]:
    """Return the commonest species in a class, and its fraction of the class."""
    counts = pd.Series(species[species != ""]).value_counts()
    return (str(counts.index[0]), float(counts.iloc[0] / len(species))) if len(counts) else ("", 0.0)


def _planted(
    case: Case, truth: pd.DataFrame, species: NDArray[np.str_], verdicts: pd.DataFrame
) -> pd.DataFrame:
    accepted = verdicts[(verdicts["true_fraction"] > TRUE_CLASS) & (verdicts.get("q", np.nan) < SIGNIFICANT)]
    names = [species_name(mass) for mass in case.masses]
    rows = [
        {
            "mass": mass,
            "copies": int((truth[SPECIES] == name).sum()),
            "picked": int((species == name).sum()),
            "found": bool((accepted["species"] == name).any()),
        }
        for mass, name in zip(case.masses, names, strict=True)
    ]
    return pd.DataFrame(rows, columns=["mass", "copies", "picked", "found"])


def _species_of(table: pd.DataFrame, truth: pd.DataFrame) -> NDArray[np.str_]:
    """Return (n,) the species at every pick; "" where there is no particle."""
    species = np.full(len(table), "", dtype=object)
    if len(truth):
        places = truth[list(columns.COORDINATES)].to_numpy(float) * VOXEL
        picks = table[list(columns.COORDINATES)].to_numpy(float) * VOXEL
        distance, nearest = cKDTree(places).query(picks)
        near = distance <= NEAR
        species[near] = truth[SPECIES].to_numpy(str)[nearest[near]]
    return species.astype(str)


class _Clock:
    """Processor time by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - started


@dataclass
class _Work:
    """The stages of a run on one tomogram."""

    tomogram: Tomogram
    picking: PickOptions
    box_size: int
    seed: int
    folder: Path
    clock: _Clock
    averaging: AveragingOptions = COARSE

    def __post_init__(self) -> None:
        self.boxes_options = SubtomogramOptions(box_size=self.box_size, voxel_size=VOXEL)
        coarse = self.averaging.voxel_size or VOXEL
        width = 2 * round(self.box_size * VOXEL / coarse / 2)
        self.averaged_options = SubtomogramOptions(box_size=width, voxel_size=coarse)
        self.features_options = FeatureOptions()
        self.device = torch.device("cpu")

    def classes(self) -> tuple[pd.DataFrame, NDArray[np.float32]]:
        """Return the particles with classes, and their features."""
        opened, path = open_tomogram(self.tomogram), self.folder / "boxes.h5"
        with self.clock("picking"):
            picks = pick_tomogram(self.tomogram, opened, self.picking)
        with self.clock("boxes"):
            cut = write_subtomograms(path, self.tomogram, picks, self.boxes_options, self.seed)
        boxes = BoxStack([path])
        self.learner = create_learner("transfer", self.features_options, self.device, self.seed)
        with self.clock("features"):
            learned = learn_features(self.learner, boxes, self.features_options)
        centring = learned.centring
        shifts = (centring.shifts_voxels * VOXEL).astype(np.float64)
        with self.clock("clusters"):
            table, _ = cluster_particles(
                cut, boxes.names, learned.features, shifts, centring.scores, ClusteringOptions(), self.seed
            )
        return table, learned.features

    def averages(self, table: pd.DataFrame) -> dict[int, ClusterAverage]:
        """Return the averages of all classes."""
        numbers = sorted({int(number) for number in table[columns.CLASS]} - {columns.UNASSIGNED})
        boxes, path = BoxStack([self.folder / "boxes.h5"]), self.folder / "averaging.h5"
        with self.clock("averages"):
            located = [
                locate_particles(boxes, table[table[columns.CLASS] == number], self.averaging, self.seed)
                for number in numbers
            ]
        joined = mark_doubles(gather_tables(located), self.averaging.double_distance)
        kept = without_doubles(joined)
        with self.clock("boxes"):
            cut = extract_for_averaging(
                path, self.tomogram, kept, self.averaged_options, "limit", {}, self.seed
            )
        stack = BoxStack([path])
        with self.clock("averages"):
            return {n: self._average(stack, cut[cut[columns.CLASS] == n]) for n in numbers}

    def _average(self, boxes: BoxStack, mine: pd.DataFrame) -> ClusterAverage:
        result, aligned = align_particles(boxes, mine, self.averaging, self.seed, centred=True)
        blocks = fsc_blocks(result, "C1")
        figures, fsc = blocks["general"], blocks.get("fsc", pd.DataFrame())
        assert isinstance(figures, dict)
        assert isinstance(fsc, pd.DataFrame)
        return ClusterAverage(result.average, result.voxel_size, figures, fsc, aligned, result.half_maps)

    def decoys(
        self, table: pd.DataFrame, features: NDArray[np.float32], clusters: Mapping[int, ClusterAverage]
    ) -> Assessment:
        """Return what decoys say about the classes."""
        opened, options = open_tomogram(self.tomogram), EvidenceOptions(decoys=True)
        paths = self.folder / "decoys.h5", self.folder / "decoys_averaging.h5"
        sizes = (self.boxes_options, self.averaged_options)
        with self.clock("decoys: picking"):
            sets = decoys_of_tomogram(self.tomogram, opened, table, self.picking, options, self.seed)
        with self.clock("decoys: boxes"):
            found = write_decoys(paths, self.tomogram, VOXEL, sets, sizes, "limit", {}, self.seed)
        stack = BoxStack([paths[0]])
        with self.clock("decoys: features"):
            embedded = embed_centred(self.learner, stack, self.features_options)[0]
        decoys = decoy_rows([found], stack.names)
        with self.clock("decoys: averages"):
            most = decoys_to_average(len(decoys), len(table))
            stack = BoxStack([paths[1]])
            curves = average_decoys(stack, decoys, embedded, self.averaging, self.seed, most=most)
        both = BoxStack([self.folder / "averaging.h5", paths[1]])
        with self.clock("decoys: assessment"):
            return assess_classes(
                clusters, (table, features), (decoys, embedded), both, curves, self.averaging, self.seed
            )
