"""Significance of classes by decoys on simulated tomograms with and without particles: false and true discoveries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    clusters = work.averages(table)
    found = work.decoys(table, features, clusters)
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
    averaging: AveragingOptions = field(default_factory=AveragingOptions)

    def __post_init__(self) -> None:
        self.boxes_options = SubtomogramOptions(box_size=self.box_size, voxel_size=VOXEL)
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
            cut = extract_for_averaging(path, self.tomogram, kept, self.boxes_options, "limit", {}, self.seed)
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
        sizes = (self.boxes_options, self.boxes_options)
        with self.clock("decoys: picking"):
            sets = decoys_of_tomogram(self.tomogram, opened, table, self.picking, options, self.seed)
        with self.clock("decoys: boxes"):
            found = write_decoys(paths, self.tomogram, VOXEL, sets, sizes, "limit", {}, self.seed)
        stack = BoxStack([paths[0]])
        with self.clock("decoys: features"):
            embedded = embed_centred(self.learner, stack, self.features_options)[0]
        decoys = decoy_rows([found], stack.names)
        with self.clock("decoys: averages"):
            curves = average_decoys(BoxStack([paths[1]]), decoys, embedded, self.averaging, self.seed)
        both = BoxStack([self.folder / "averaging.h5", paths[1]])
        with self.clock("decoys: assessment"):
            return assess_classes(
                clusters, (table, features), (decoys, embedded), both, curves, self.averaging, self.seed
            )


NULL_RUNS = {"reduced": 3, "full": 20}
SIZE = {"reduced": (128, 128, 64), "full": (256, 256, 80)}
SPECIES = ("ribosome_like", "proteasome_like", "ferritin_like", "phantom_11", "phantom_12", "phantom_13")
COPIES = (10, 30, 100, 300)
SNRS = (0.3, 0.1)


def cases_of(size: str) -> list[tuple[Case, int]]:
    """Return the cases of a benchmark, `reduced` or `full`, each with its seed."""
    runs, shape = NULL_RUNS[size], SIZE[size]
    found = [(case, seed) for case in null_cases(shape) for seed in range(1, runs + 1)]
    for number in range(3 * runs):
        chosen = (SPECIES[number % len(SPECIES)], SPECIES[(number + 2) % len(SPECIES)])
        copies = COPIES[number % (len(COPIES) if size == "full" else 2)]
        found.append((planted_case(chosen, copies, SNRS[number % len(SNRS)], shape), number + 1))
    return found


def figures_of(case: Case, seed: int, outcome: Outcome) -> dict[str, object]:
    """Return one row of the table of runs."""
    classes, particles, seconds = outcome.classes, outcome.particles, outcome.seconds
    accepted = classes[classes["q"] < SIGNIFICANT] if "q" in classes else classes.iloc[:0]
    real = classes[classes["true_fraction"] > TRUE_CLASS]
    rates = particles.get(columns.FALSE_DISCOVERY, pd.Series(dtype=float))
    decoys = sum(value for name, value in seconds.items() if name.startswith("decoys"))
    return {
        "case": case.name if case.simulation is None or not case.simulation.copies else "planted",
        "seed": seed,
        "classes": len(classes),
        "true": len(real),
        "accepted": len(accepted),
        "accepted_true": int((accepted["true_fraction"] > TRUE_CLASS).sum()),
        "resolutions": int((classes["resolution"].notna() & (classes["true_fraction"] <= TRUE_CLASS)).sum()),
        "stated": float(rates.mean()),
        "noise": float(1 - particles["true"].mean()) if "true" in particles else np.nan,
        "extra_time": decoys / max(1e-9, sum(seconds.values()) - decoys),
    }


def section(runs: pd.DataFrame, hardware: str) -> str:
    """Return the section of docs/evidence.md from a table of `figures_of`."""
    lines = [
        f"Processor time on {hardware}. *Noise*: mean local false discovery rate stated / true fraction of picks without a "
        "particle. *Resolutions*: reported for classes that are not one species.",
        "",
        "| tomograms | runs | classes | of one species | q < 0.05 | of these true | resolutions | noise | extra time |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rows in runs.groupby("case", sort=False):
        counts = [
            int(rows[key].sum()) for key in ("classes", "true", "accepted", "accepted_true", "resolutions")
        ]
        noise = f"{rows['stated'].mean():.2f} / {rows['noise'].mean():.2f}"
        cells = [name, len(rows), *counts, noise, f"{rows['extra_time'].median():.0%}"]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"
